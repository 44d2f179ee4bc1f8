// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sampling against a scalar version of its definition, and the definition
// against plain sorted sampling in double.

#include "Harness.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace kernels_test;

namespace {

uint32_t philox(uint64_t seed, uint32_t position) {
  uint32_t c[4] = {position, 0, 0, 0},
           key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t(c[0]) * 0xD2511F53u,
             p1 = uint64_t(c[2]) * 0xCD9E8D57u;
    uint32_t next[4] = {uint32_t(p1 >> 32) ^ c[1] ^ key[0], uint32_t(p1),
                        uint32_t(p0 >> 32) ^ c[3] ^ key[1], uint32_t(p0)};
    std::memcpy(c, next, sizeof(c));
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return c[0];
}

TEST(Philox, GivesThePublishedNumbers) {
  // Known answer of Philox4x32-10 for key 0 and counter 0.
  EXPECT_EQ(0x6627e8d5u, philox(0, 0));
}

/// The candidates in double: top-k, top-p, min-p on sorted probabilities. Ids
/// whose membership hangs on the last bits are left out of `surely` but in
/// `maybe`.
struct Candidates {
  std::vector<bool> surely, maybe;
  std::vector<double> weight;
};

Candidates candidates(const float *z, int64_t width, const ee_sampler &s) {
  std::vector<int64_t> order(static_cast<size_t>(width));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return z[a] != z[b] ? z[a] > z[b] : a < b;
  });
  Candidates c;
  c.surely.assign(size_t(width), false);
  c.maybe.assign(size_t(width), false);
  c.weight.assign(size_t(width), 0);
  if (s.top_k > 0 && s.top_k < width)
    order.resize(size_t(s.top_k));
  double total = 0;
  for (int64_t id : order) {
    c.weight[size_t(id)] =
        std::exp((double(z[id]) - double(z[order[0]])) / double(s.temperature));
    total += c.weight[size_t(id)];
  }
  double before = 0;
  for (int64_t id : order) {
    double w = c.weight[size_t(id)], target = double(s.top_p) * total;
    constexpr double slack = 1e-5;
    bool in = s.top_p >= 1 || before < target - slack * total;
    bool close = s.top_p >= 1 || before < target + slack * total;
    c.surely[size_t(id)] = in && w >= double(s.min_p) * (1 + slack);
    c.maybe[size_t(id)] = close && w >= double(s.min_p) * (1 - slack);
    before += w;
  }
  return c;
}

class Sample : public testing::TestWithParam<Level> {};

TEST_P(Sample, TemperatureZeroTakesTheFirstLargest) {
  if (!runsHere(GetParam()))
    GTEST_SKIP();
  Case c(GetParam(), "%z: tensor<?x333xf32>",
         "%t = adaptive.sample %z : tensor<?x333xf32> -> tensor<?xi32>");
  EXPECT_TRUE(c.declared.empty()) << c.declared.front();
  c.rows(6);
  ee_sampler sampler{0, 1, 0, 0, 1};
  c.args.samplers = &sampler;
  auto z = randomFloats(333, 3);
  for (int64_t row = 0; row < 6; ++row)
    std::memcpy(c.input(0, row), z.data(), 333 * 4);
  const int64_t best[] = {332, 17, 5, 0, 0, 40};
  c.input(0, 0)[332] = 9;
  c.input(0, 1)[17] = c.input(0, 1)[33] = c.input(0, 1)[18] = 9;
  c.input(0, 2)[5] = INFINITY;
  for (int64_t i = 0; i < 333; ++i) {
    c.input(0, 3)[i] = NAN;
    c.input(0, 4)[i] = -INFINITY;
  }
  c.input(0, 5)[3] = NAN;
  c.input(0, 5)[40] = 9;
  c.run(1);
  for (int64_t row = 0; row < 6; ++row)
    EXPECT_EQ(best[row], c.resultInt(row)[0]) << row;
}

TEST_P(Sample, DrawsFromTheCandidatesByTheirWeights) {
  if (!runsHere(GetParam()))
    GTEST_SKIP();
  constexpr int64_t width = 317, rows = 3000;
  Case c(GetParam(), "%z: tensor<?x317xf32>",
         "%t = adaptive.sample %z : tensor<?x317xf32> -> tensor<?xi32>");
  auto z = randomFloats(width, 5, 2);
  for (int64_t i = 0; i < 40; ++i)
    z[size_t(i * 7)] = 1.5f; // ties, some at the cuts
  z[100] = -INFINITY;
  z[101] = NAN;
  std::vector<float> clean = z;
  clean[101] = -INFINITY;
  for (ee_sampler sampler :
       {ee_sampler{1, 1, 0, 0, 11}, ee_sampler{0.7f, 1, 0, 9, 12},
        ee_sampler{1.3f, 0.8f, 0, 0, 13}, ee_sampler{1, 0.5f, 0, 40, 14},
        ee_sampler{1, 1, 0.05f, 0, 15},
        ee_sampler{0.9f, 0.9f, 0.1f, 60, uint64_t(1) << 40},
        ee_sampler{2, 0.01f, 0, 0, 16}, ee_sampler{1, 1, 0, 1, 17},
        ee_sampler{1, 1, 0, 30, 18}}) {
    c.rows(rows);
    c.args.samplers = &sampler;
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(c.input(0, row), z.data(), size_t(width) * 4);
      c.position[size_t(c.slot(row))] = int32_t(row);
    }
    c.run(7);
    Candidates truth = candidates(clean.data(), width, sampler);
    double total = 0;
    for (int64_t i = 0; i < width; ++i)
      total += truth.surely[size_t(i)] ? truth.weight[size_t(i)] : 0;
    std::vector<double> counts(size_t(width), 0.0);
    int64_t mismatches = 0;
    for (int64_t row = 0; row < rows; ++row) {
      int64_t id = c.resultInt(row)[0];
      ASSERT_TRUE(id >= 0 && id < width && truth.maybe[size_t(id)])
          << "id " << id;
      counts[size_t(id)] += 1;
      // The same draw in double; only ids at a rounding border may differ.
      double u = double(philox(sampler.seed, uint32_t(row)) >> 8) * 0x1p-24,
             running = 0;
      int64_t expected = -1;
      for (int64_t i = 0; i < width && expected < 0; ++i)
        if (truth.surely[size_t(i)] &&
            (running += truth.weight[size_t(i)]) > u * total)
          expected = i;
      mismatches += expected != id;
    }
    EXPECT_LE(mismatches, rows / 500) << "seed " << sampler.seed;
    double chi = 0;
    int64_t degrees = -1;
    for (int64_t i = 0; i < width; ++i) {
      double expected =
          truth.surely[size_t(i)] ? truth.weight[size_t(i)] / total * rows : 0;
      if (expected > 3) {
        chi += (counts[size_t(i)] - expected) * (counts[size_t(i)] - expected) /
               expected;
        ++degrees;
      }
    }
    if (degrees > 0)
      EXPECT_LT(chi, degrees + 5 * std::sqrt(2.0 * double(degrees)) + 5)
          << sampler.seed;
  }
}

TEST_P(Sample, DoesNotDependOnTheRowsBeside) {
  if (!runsHere(GetParam()))
    GTEST_SKIP();
  constexpr int64_t width = 1000, rows = 40;
  Case c(GetParam(), "%z: tensor<?x1000xf32>",
         "%t = adaptive.sample %z : tensor<?x1000xf32> -> tensor<?xi32>");
  std::vector<ee_sampler> samplers;
  for (int64_t i = 0; i < rows; ++i)
    samplers.push_back({0.5f + 0.1f * float(i % 7), i % 2 ? 0.9f : 1.0f,
                        i % 3 ? 0.0f : 0.02f, int32_t(i % 5 * 20),
                        uint64_t(i)});
  auto z = randomFloats(size_t(rows * width), 8, 3);
  auto place = [&](int64_t first, int64_t n) {
    c.rows(n);
    c.args.samplers = samplers.data();
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(c.input(0, i), &z[size_t((first + i) * width)],
                  size_t(width) * 4);
      c.sequence[size_t(c.slot(i))] = int32_t(first + i);
      c.position[size_t(c.slot(i))] = int32_t(first + i) * 3;
    }
  };
  std::vector<int32_t> alone;
  for (int64_t row = 0; row < rows; ++row) {
    place(row, 1);
    c.run();
    alone.push_back(c.resultInt(0)[0]);
  }
  place(0, rows);
  c.run(3);
  for (int64_t row = 0; row < rows; ++row)
    EXPECT_EQ(alone[size_t(row)], c.resultInt(row)[0]);
}

INSTANTIATE_TEST_SUITE_P(All, Sample,
                         testing::Values(Level::V3, Level::AVX512));

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Criteria, probe, cosine against double; the decision function against its
// text.

#include "Harness.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace kernels_test;

namespace {

/// Scores in long double, from the definitions.
double reference(const std::string &kind, const float *z, int64_t width) {
  std::vector<long double> sorted(z, z + width);
  std::sort(sorted.rbegin(), sorted.rend());
  long double rest = 0, moment = 0;
  for (int64_t i = 1; i < width; ++i) {
    long double e = expl(sorted[size_t(i)] - sorted[0]);
    rest += e;
    moment += (sorted[0] - sorted[size_t(i)]) * e;
  }
  if (kind == "max_prob")
    return double(-logl(rest));
  long double second = expl(sorted[1] - sorted[0]);
  if (kind == "margin")
    return double(logl(-expm1l(sorted[1] - sorted[0])) - logl(rest + second));
  long double h = (log1pl(rest) + moment / (1 + rest)) / logl(width);
  return double(logl(1 - h) - logl(h));
}

TEST(Criteria, MatchLongDouble) {
  for (Level level : levelsHere())
    for (std::string kind : {"max_prob", "margin", "entropy"})
      for (int64_t width : {2, 37, 320, 5001}) {
        std::string type = "tensor<?x" + std::to_string(width) + "xf32>";
        Case c(level, "%z: " + type,
               "%s = adaptive.criteria " + kind + " %z : " + type +
                   " -> tensor<?xf32>");
        EXPECT_TRUE(c.declared.empty());
        c.rows(12);
        for (int64_t row = 0; row < 12; ++row) {
          auto z =
              randomFloats(size_t(width), uint32_t(row + 1), float(row + 1));
          z[size_t(row * 5 % width)] += float(row) * 3;
          std::memcpy(c.input(0, row), z.data(), size_t(width) * 4);
        }
        c.run(5);
        for (int64_t row = 0; row < 12; ++row) {
          double expected = reference(kind, c.input(0, row), width);
          ASSERT_NEAR(expected, double(c.result(row)[0]),
                      2e-5 * std::max(1.0, std::fabs(expected)))
              << kind << " width " << width << " row " << row;
        }
      }
}

TEST(Criteria, KnowTheirLimits) {
  for (Level level : levelsHere())
    for (std::string kind : {"max_prob", "margin", "entropy"}) {
      Case c(level, "%z: tensor<?x40xf32>",
             "%s = adaptive.criteria " + kind +
                 " %z : tensor<?x40xf32> -> tensor<?xf32>");
      c.rows(3);
      for (int64_t i = 0; i < 40; ++i) {
        c.input(0, 0)[i] = i == 17 ? 500.0f : -500.0f; // certain
        c.input(0, 1)[i] = 2.5f;                       // uniform
        c.input(0, 2)[i] = i == 17 ? 1.0f : -INFINITY; // one candidate
      }
      c.run();
      EXPECT_EQ(INFINITY, c.result(0)[0]);
      EXPECT_EQ(INFINITY, c.result(2)[0]);
      if (kind == "max_prob")
        EXPECT_NEAR(-std::log(39.0), double(c.result(1)[0]), 1e-5);
      else
        EXPECT_LT(c.result(1)[0], -12.0f); // -inf up to rounding
    }
}

TEST(Probe, AddsABias) {
  for (Level level : levelsHere()) {
    Case c(level, "%x: tensor<?x77xf32>, %w: tensor<77xf32>, %b: tensor<1xf32>",
           "%s = adaptive.probe %x, %w, %b : tensor<?x77xf32>, tensor<77xf32>, "
           "tensor<1xf32> -> tensor<?xf32>");
    auto w = randomFloats(77, 1), x = randomFloats(77 * 3, 2);
    c.setWeight(1, w);
    c.setWeight(2, {0.75f});
    c.rows(3);
    for (int64_t row = 0; row < 3; ++row)
      std::memcpy(c.input(0, row), &x[size_t(row * 77)], 77 * 4);
    c.run();
    for (int64_t row = 0; row < 3; ++row) {
      double expected = 0.75;
      for (int64_t i = 0; i < 77; ++i)
        expected += double(w[size_t(i)]) * double(x[size_t(row * 77 + i)]);
      EXPECT_NEAR(expected, double(c.result(row)[0]), 1e-5);
    }
  }
}

TEST(Cosine, KeepsItsPrecisionNearOne) {
  for (Level level : levelsHere()) {
    Case c(level, "%a: tensor<?x77xf32>, %b: tensor<?x77xf32>",
           "%s = adaptive.cosine %a, %b : tensor<?x77xf32> -> tensor<?xf32>");
    c.rows(6);
    auto base = randomFloats(77, 3), noise = randomFloats(77, 4);
    const double mix[] = {1, 0.1, 1e-2, 1e-3};
    for (int64_t row = 0; row < 4; ++row)
      for (size_t i = 0; i < 77; ++i) {
        c.input(0, row)[i] = base[i];
        c.input(1, row)[i] =
            float(double(base[i]) + mix[row] * double(noise[i])) * 3;
      }
    for (size_t i = 0; i < 77; ++i) {
      c.input(0, 4)[i] = base[i]; // one row of zeros
      c.input(1, 4)[i] = c.input(0, 5)[i] = c.input(1, 5)[i] = 0;
    }
    c.run();
    for (int64_t row = 0; row < 4; ++row) {
      long double ab = 0, aa = 0, bb = 0;
      for (size_t i = 0; i < 77; ++i) {
        long double a = c.input(0, row)[i], b = c.input(1, row)[i];
        ab += a * b;
        aa += a * a;
        bb += b * b;
      }
      long double cosine = ab / sqrtl(aa * bb);
      double expected = double(logl(1 + cosine) - logl(1 - cosine));
      EXPECT_NEAR(expected, double(c.result(row)[0]),
                  1e-3 * std::fabs(expected) + 1e-5)
          << row;
    }
    EXPECT_EQ(0.0f, c.result(4)[0]);
    EXPECT_EQ(0.0f, c.result(5)[0]);
  }
}

TEST(Decide, FollowsItsText) {
  constexpr int index = 3, depth = 12;
  for (Level level : levelsHere()) {
    Case c(level, "%s: tensor<?xf32>",
           "%d = adaptive.decide %s index 3 depth 12 : tensor<?xf32> -> "
           "tensor<?xi1>");
    constexpr int64_t rows = 4000;
    c.rows(rows);
    std::mt19937 random(7);
    auto pick = [&](std::initializer_list<int> values) {
      return values.begin()[random() % values.size()];
    };
    std::vector<ee_policy> policies(64);
    for (ee_policy &policy : policies) {
      policy = {};
      policy.version = EE_POLICY_VERSION;
      policy.criterion_mask =
          pick({1 << index, 1 << index, 255, ~(1 << index)});
      policy.force_full = uint32_t(pick({0, 0, 0, 1}));
      policy.min_depth = pick({0, 0, 12, 13});
      policy.max_depth = pick({30, 30, 13, 12});
      policy.decay_scale = float(pick({0, 0, 2}));
      policy.decay_rate = 0.05f;
      policy.threshold[index] = float(pick({-1, 0, 1}));
    }
    c.args.policies = policies.data();
    int64_t leaving = 0;
    std::vector<bool> expected;
    for (int64_t row = 0; row < rows; ++row) {
      size_t slot = size_t(c.slot(row));
      c.policy[slot] = int32_t(random() % policies.size());
      c.position[slot] = int32_t(random() % 50);
      c.flags[slot] = uint32_t(pick({1, 1, 1, 5, 0, 6}));
      c.script[slot] = pick({-1, -1, -1, -1, -2, 2, 3});
      float score = float(int(random() % 9) - 4) * 0.75f;
      if (random() % 20 == 0)
        score = NAN;
      c.input(0, row)[0] = score;
      const ee_policy &p = policies[size_t(c.policy[slot])];
      double threshold =
          double(p.threshold[index]) +
          double(p.decay_scale) *
              std::exp(-double(p.decay_rate) * double(c.position[slot]));
      bool free = c.script[slot] == EE_SCRIPT_NONE &&
                  (c.flags[slot] & EE_ROW_EXIT_ENABLED) &&
                  (p.criterion_mask >> index & 1) && !p.force_full &&
                  depth >= p.min_depth &&
                  (double(score) >= threshold || depth >= p.max_depth);
      expected.push_back(c.script[slot] == index || free);
      leaving += expected.back();
    }
    c.run(100);
    EXPECT_GT(leaving, rows / 20);
    EXPECT_LT(leaving, rows / 2);
    for (int64_t row = 0; row < rows; ++row)
      ASSERT_EQ(int(expected[size_t(row)]), c.resultInt(row)[0])
          << "row " << row;
  }
}

} // namespace

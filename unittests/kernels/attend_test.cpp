// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// kv_append and attend over scattered pages, against double softmax; the bits
// of a row must not depend on the rows beside it nor on what lies behind its
// end.

#include "Harness.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace kernels_test;

namespace {

struct Attention {
  int64_t heads, kvHeads, headDim, page;
};

/// Pages of two sequences, scattered, two layers, everything NaN at first.
struct Cache {
  Cache(const Attention &a, int64_t length)
      : a(a), stride((length + a.page - 1) / a.page + 1),
        bytes(2 * 2 * a.kvHeads * a.headDim * a.page * 4),
        pages(size_t(bytes * stride * 2)), table(size_t(stride * 2)) {
    for (int64_t i = 0; i < stride * 2; ++i)
      table[size_t(i)] = int32_t((i * 7 + 3) % (stride * 2));
    if ((stride * 2) % 7 == 0) // keep it a permutation
      for (int64_t i = 0; i < stride * 2; ++i)
        table[size_t(i)] = int32_t(stride * 2 - 1 - i);
    levels[0] = {nullptr, nullptr, 0};
    levels[1] = {pages.data(), table.data(), stride};
  }
  float *layer(int64_t sequence, int64_t position) {
    int64_t page = table[size_t(sequence * stride + position / a.page)];
    return reinterpret_cast<float *>(pages.data() + page * bytes + bytes / 2);
  }
  float &key(int64_t sequence, int64_t position, int64_t head, int64_t d) {
    return layer(sequence,
                 position)[(head * a.headDim + d) * a.page + position % a.page];
  }
  float &value(int64_t sequence, int64_t position, int64_t head, int64_t d) {
    float *values = layer(sequence, position) + a.kvHeads * a.headDim * a.page;
    return values[(head * a.page + position % a.page) * a.headDim + d];
  }
  Attention a;
  int64_t stride, bytes;
  Bytes pages;
  std::vector<int32_t> table;
  ee_kv_level levels[2];
};

std::string rowsType(int64_t width) {
  return "tensor<?x" + std::to_string(width) + "xf32>";
}
std::string kvType(const Attention &a) {
  return "!adaptive.kv<" + std::to_string(a.kvHeads) + " x " +
         std::to_string(a.headDim) + ">";
}

class Attend : public testing::TestWithParam<std::tuple<Level, Attention>> {};

TEST_P(Attend, MatchesDoubleAloneAndTogether) {
  auto [level, a] = GetParam();
  if (!runsHere(level))
    GTEST_SKIP();
  constexpr int64_t length = 150;
  Options options;
  options.page = a.page;
  Case c(level, "%q: " + rowsType(a.heads * a.headDim) + ", %kv: " + kvType(a),
         "%y = adaptive.attend %q, %kv heads " + std::to_string(a.heads) +
             " scale 2.5e-01 : " + rowsType(a.heads * a.headDim) + ", " +
             kvType(a),
         options);
  EXPECT_TRUE(c.declared.empty()) << c.declared.front();
  Cache cache(a, length);
  auto numbers = randomFloats(size_t(4 * length * a.kvHeads * a.headDim), 21);
  size_t next = 0;
  for (int64_t s = 0; s < 2; ++s)
    for (int64_t p = 0; p < length; ++p)
      for (int64_t h = 0; h < a.kvHeads; ++h)
        for (int64_t d = 0; d < a.headDim; ++d) {
          cache.key(s, p, h, d) = numbers[next++];
          cache.value(s, p, h, d) = numbers[next++];
        }
  const int64_t positions[] = {0,  1,  15, 16,  31,  63,  64,
                               65, 66, 67, 100, 127, 128, 149};
  constexpr int64_t rows = 2 * std::size(positions);
  int64_t width = a.heads * a.headDim;
  auto queries = randomFloats(size_t(rows * width), 5);
  c.context = {1, 0};
  auto place = [&](int64_t first, int64_t n) {
    c.rows(n);
    c.args.kv = cache.levels;
    for (int64_t i = 0; i < n; ++i) {
      int64_t row = first + i;
      std::memcpy(c.input(0, i), &queries[size_t(row * width)],
                  size_t(width) * 4);
      c.position[size_t(c.slot(i))] =
          int32_t(positions[row % std::size(positions)]);
      c.sequence[size_t(c.slot(i))] = int32_t(row / std::size(positions));
    }
  };
  std::vector<std::vector<float>> alone;
  for (int64_t row = 0; row < rows; ++row) {
    place(row, 1);
    c.run();
    alone.emplace_back(c.result(0), c.result(0) + width);
    int64_t s = row / std::size(positions),
            visible = positions[row % std::size(positions)] + 1;
    for (int64_t h = 0; h < a.heads; ++h) {
      int64_t kvHead = h * a.kvHeads / a.heads;
      std::vector<double> score;
      double top = -INFINITY, sum = 0;
      for (int64_t p = 0; p < visible; ++p) {
        double dot = 0;
        for (int64_t d = 0; d < a.headDim; ++d)
          dot += double(queries[size_t(row * width + h * a.headDim + d)]) *
                 double(cache.key(s, p, kvHead, d));
        score.push_back(dot * 0.25);
        top = std::max(top, score.back());
      }
      for (double &x : score)
        sum += x = std::exp(x - top);
      for (int64_t d = 0; d < a.headDim; ++d) {
        double expected = 0;
        for (int64_t p = 0; p < visible; ++p)
          expected +=
              score[size_t(p)] / sum * double(cache.value(s, p, kvHead, d));
        ASSERT_NEAR(expected, double(alone.back()[size_t(h * a.headDim + d)]),
                    2e-5)
            << "row " << row << " head " << h;
      }
    }
  }
  for (int64_t piece : {0, 1, 5}) {
    place(0, rows);
    c.run(piece);
    for (int64_t row = 0; row < rows; ++row)
      ASSERT_EQ(0, std::memcmp(c.result(row), alone[size_t(row)].data(),
                               size_t(width) * 4))
          << "row " << row << " in pieces of " << piece;
  }
  // What lies behind a row's position must not matter: NaN there.
  for (int64_t s = 0; s < 2; ++s)
    for (int64_t p = 68; p < length; ++p)
      for (int64_t h = 0; h < a.kvHeads; ++h)
        for (int64_t d = 0; d < a.headDim; ++d)
          cache.key(s, p, h, d) = cache.value(s, p, h, d) = NAN;
  place(0, 10);
  c.run();
  for (int64_t row = 0; row < 10; ++row)
    ASSERT_EQ(0, std::memcmp(c.result(row), alone[size_t(row)].data(),
                             size_t(width) * 4));
}

INSTANTIATE_TEST_SUITE_P(
    All, Attend,
    testing::Combine(testing::Values(Level::V3, Level::AVX512),
                     testing::Values(Attention{9, 3, 64, 64},
                                     Attention{4, 4, 32, 16},
                                     Attention{8, 1, 40, 64},
                                     Attention{2, 2, 8, 32},
                                     Attention{12, 2, 128, 64})));

TEST(KVAppend, WritesBothLayouts) {
  for (Level level : levelsHere())
    for (Attention a : {Attention{3, 3, 64, 64}, Attention{2, 2, 20, 16}}) {
      int64_t width = a.kvHeads * a.headDim;
      Options options;
      options.page = a.page;
      Case c(level, "%k: " + rowsType(width) + ", %v: " + rowsType(width),
             "%kv = adaptive.kv_append %k, %v : " + rowsType(width) + " -> " +
                 kvType(a),
             options);
      Cache cache(a, 100);
      c.rows(4);
      c.args.kv = cache.levels;
      c.context = {1, 0};
      auto numbers = randomFloats(size_t(8 * width), 2);
      const int64_t positions[] = {0, 15, 64, 99};
      for (int64_t row = 0; row < 4; ++row) {
        c.position[size_t(c.slot(row))] = int32_t(positions[row]);
        c.sequence[size_t(c.slot(row))] = int32_t(row % 2);
        std::memcpy(c.input(0, row), &numbers[size_t(2 * row * width)],
                    size_t(width) * 4);
        std::memcpy(c.input(1, row), &numbers[size_t((2 * row + 1) * width)],
                    size_t(width) * 4);
      }
      std::vector<uint8_t> before(cache.pages.data(),
                                  cache.pages.data() + cache.pages.size());
      c.run(1);
      for (int64_t row = 0; row < 4; ++row)
        for (int64_t i = 0; i < width; ++i) {
          int64_t head = i / a.headDim, d = i % a.headDim;
          ASSERT_EQ(c.input(0, row)[i],
                    cache.key(row % 2, positions[row], head, d));
          ASSERT_EQ(c.input(1, row)[i],
                    cache.value(row % 2, positions[row], head, d));
          cache.key(row % 2, positions[row], head, d) = NAN;
          std::memset(&cache.key(row % 2, positions[row], head, d), 0xff, 4);
          std::memset(&cache.value(row % 2, positions[row], head, d), 0xff, 4);
        }
      EXPECT_EQ(0,
                std::memcmp(before.data(), cache.pages.data(), before.size()));
    }
}

} // namespace

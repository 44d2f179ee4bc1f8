// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Linear layers in every format: values against double, bits against any other
// way of grouping rows and splitting panels.

#include "Harness.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>

using namespace kernels_test;

namespace {

struct Shape {
  int64_t n, k;
};

std::string type(int64_t n, int64_t k) {
  return "tensor<" + std::to_string(n) + "x" + std::to_string(k) + "xf32>";
}
std::string rowsType(int64_t width) {
  return "tensor<?x" + std::to_string(width) + "xf32>";
}

/// Relative tolerance of a format against the product of the unpacked weights:
/// what rounding of the rows and of the sums may do.
double tolerance(Format format) {
  switch (format) {
  case Format::BF16:
    return 6e-3;
  case Format::Q8:
  case Format::Q4:
    return 1.2e-2;
  default:
    return 2e-6;
  }
}

class Linear : public testing::TestWithParam<std::tuple<Level, Format>> {};

TEST_P(Linear, MatchesDoubleInAnyGrouping) {
  auto [level, format] = GetParam();
  if (!runsHere(level))
    GTEST_SKIP();
  for (Shape shape : {Shape{64, 32}, Shape{130, 77}, Shape{48, 333}}) {
    Options setup;
    setup.format = format;
    setup.rows = shape.n == 130 ? RowBuffer::RowStore : RowBuffer::Arena;
    Case c(
        level, "%x: " + rowsType(shape.k) + ", %w: " + type(shape.n, shape.k),
        "%y = adaptive.linear %x weights(%w) : " + rowsType(shape.k) + ", (" +
            type(shape.n, shape.k) + ") -> (" + rowsType(shape.n) + ")",
        setup);
    EXPECT_TRUE(c.declared.empty()) << c.declared.front();
    auto w = randomFloats(size_t(shape.n * shape.k), 7, 0.5f);
    c.setWeight(1, w);
    std::vector<float> unpacked(w.size());
    unpackMatrix(c.packing(1), c.packedWeight(1), unpacked.data());
    auto x = randomFloats(size_t(33 * shape.k), 11);
    std::vector<std::vector<float>> alone;
    for (int64_t row = 0; row < 33; ++row) {
      c.rows(1);
      std::memcpy(c.input(0, 0), &x[size_t(row * shape.k)],
                  size_t(shape.k) * 4);
      c.run();
      alone.emplace_back(c.result(0), c.result(0) + shape.n);
      double square = 0, worst = 0;
      for (int64_t n = 0; n < shape.n; ++n) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < shape.k; ++i) {
          double term = double(x[size_t(row * shape.k + i)]) *
                        double(unpacked[size_t(n * shape.k + i)]);
          sum += term;
          magnitude += term * term;
        }
        worst = std::max(worst, std::fabs(sum - double(c.result(0)[n])));
        square = std::max(square, magnitude);
      }
      EXPECT_LE(worst, tolerance(format) * std::sqrt(square) * 2)
          << "row " << row;
    }
    for (int64_t m : {2, 3, 5, 6, 7, 13, 16, 33})
      for (int64_t piece : {0, 1}) {
        c.rows(m);
        for (int64_t row = 0; row < m; ++row)
          std::memcpy(c.input(0, row), &x[size_t(row * shape.k)],
                      size_t(shape.k) * 4);
        c.run(piece);
        for (int64_t row = 0; row < m; ++row)
          ASSERT_EQ(0, std::memcmp(c.result(row), alone[size_t(row)].data(),
                                   size_t(shape.n) * 4))
              << "row " << row << " of " << m << " in pieces of " << piece;
      }
  }
}

/// Several projections in one launch, of different widths and formats; some of
/// their results in the row store would be of another kind, which Arena and
/// RowStore runs cover as a whole.
TEST_P(Linear, SharesALaunchAmongWeights) {
  auto [level, format] = GetParam();
  if (!runsHere(level))
    GTEST_SKIP();
  constexpr int64_t k = 70, rows = 9;
  const int64_t widths[] = {100, 64, 3};
  for (bool mixed : {false, true}) {
    Options options;
    options.format = format;
    if (mixed)
      options.formats[2] = format == Format::F32 ? Format::Q8 : Format::F32;
    Case c(
        level,
        "%x: tensor<?x70xf32>, %a: tensor<100x70xf32>, %b: tensor<64x70xf32>, "
        "%c: tensor<3x70xf32>",
        "%y:3 = adaptive.linear %x weights(%a, %b, %c) : tensor<?x70xf32>, "
        "(tensor<100x70xf32>, tensor<64x70xf32>, tensor<3x70xf32>) -> "
        "(tensor<?x100xf32>, tensor<?x64xf32>, tensor<?x3xf32>)",
        options);
    c.rows(rows);
    auto x = randomFloats(rows * k, 1);
    for (int64_t row = 0; row < rows; ++row)
      std::memcpy(c.input(0, row), &x[size_t(row * k)], k * 4);
    std::vector<std::vector<float>> unpacked;
    for (int w = 0; w < 3; ++w) {
      c.setWeight(w + 1,
                  randomFloats(size_t(widths[w] * k), uint32_t(w + 2), 0.5f));
      unpacked.emplace_back(size_t(widths[w] * k));
      unpackMatrix(c.packing(w + 1), c.packedWeight(w + 1),
                   unpacked.back().data());
    }
    c.run(1);
    for (int w = 0; w < 3; ++w)
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t n = 0; n < widths[w]; ++n) {
          double sum = 0;
          for (int64_t i = 0; i < k; ++i)
            sum += double(x[size_t(row * k + i)]) *
                   double(unpacked[size_t(w)][size_t(n * k + i)]);
          ASSERT_NEAR(sum, double(c.result(row, w)[n]),
                      tolerance(c.packing(w + 1).format) * 12)
              << "weight " << w << " row " << row << " output " << n;
        }
  }
}

/// Gate and residual: two weights, a bias, and rows that the result overwrites.
TEST_P(Linear, RunsItsEpilogue) {
  auto [level, format] = GetParam();
  if (!runsHere(level))
    GTEST_SKIP();
  constexpr int64_t k = 64, n = 90;
  for (RowBuffer::Kind kind : {RowBuffer::Arena, RowBuffer::RowStore}) {
    Options options;
    options.format = format;
    options.rows = kind;
    options.inPlace = true;
    Case c(
        level,
        "%x: tensor<?x64xf32>, %a: tensor<90x64xf32>, %b: tensor<90x64xf32>, "
        "%v: tensor<90xf32>, %r: tensor<?x90xf32>",
        R"(%y = adaptive.linear %x weights(%a, %b) extras(%v, %r : tensor<90xf32>, tensor<?x90xf32>) : tensor<?x64xf32>, (tensor<90x64xf32>, tensor<90x64xf32>) -> (tensor<?x90xf32>) epilogue {
^bb0(%s: f32, %t: f32, %bias: f32, %old: f32):
  %one = arith.constant 1.0 : f32
  %m = arith.negf %s : f32
  %e = math.exp %m : f32
  %d = arith.addf %e, %one : f32
  %g = arith.divf %s, %d : f32
  %p = arith.mulf %g, %t : f32
  %q = arith.addf %p, %bias : f32
  %z = arith.addf %q, %old : f32
  adaptive.yield %z : f32
})",
        options);
    EXPECT_TRUE(c.declared.empty());
    auto bias = randomFloats(n, 4);
    c.setWeight(3, bias);
    std::vector<std::vector<float>> unpacked;
    for (int w : {1, 2}) {
      c.setWeight(w, randomFloats(n * k, uint32_t(w), 0.3f));
      unpacked.emplace_back(n * k);
      unpackMatrix(c.packing(w), c.packedWeight(w), unpacked.back().data());
    }
    for (int64_t rows : {1, 8}) {
      c.rows(rows);
      auto x = randomFloats(size_t(rows * k), 1),
           old = randomFloats(size_t(rows * n), 2);
      for (int64_t row = 0; row < rows; ++row) {
        std::memcpy(c.input(0, row), &x[size_t(row * k)], k * 4);
        std::memcpy(c.input(4, row), &old[size_t(row * n)], n * 4);
      }
      c.run(1);
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < n; ++i) {
          double s = 0, t = 0;
          for (int64_t j = 0; j < k; ++j) {
            s += double(x[size_t(row * k + j)]) *
                 double(unpacked[0][size_t(i * k + j)]);
            t += double(x[size_t(row * k + j)]) *
                 double(unpacked[1][size_t(i * k + j)]);
          }
          double expected = s / (1 + std::exp(-s)) * t +
                            double(bias[size_t(i)]) +
                            double(old[size_t(row * n + i)]);
          ASSERT_NEAR(expected, double(c.result(row)[i]),
                      tolerance(format) * 30 + 1e-5);
        }
    }
  }
}

/// A row of NaN, of infinities, of zeros and of tiny numbers beside ordinary
/// ones.
TEST_P(Linear, KeepsRowsApart) {
  auto [level, format] = GetParam();
  if (!runsHere(level))
    GTEST_SKIP();
  constexpr int64_t k = 96, n = 64;
  Options options;
  options.format = format;
  Case c(level, "%x: tensor<?x96xf32>, %w: tensor<64x96xf32>",
         "%y = adaptive.linear %x weights(%w) : tensor<?x96xf32>, "
         "(tensor<64x96xf32>) -> "
         "(tensor<?x64xf32>)",
         options);
  c.setWeight(1, randomFloats(n * k, 1));
  auto x = randomFloats(6 * k, 2);
  c.rows(1);
  std::memcpy(c.input(0, 0), x.data(), k * 4);
  c.run();
  std::vector<float> alone(c.result(0), c.result(0) + n);
  c.rows(6);
  for (int64_t row = 0; row < 6; ++row)
    std::memcpy(c.input(0, row), x.data(), k * 4);
  c.input(0, 1)[40] = NAN;
  c.input(0, 2)[3] = INFINITY;
  for (int64_t i = 0; i < k; ++i) {
    c.input(0, 3)[i] = 0;
    c.input(0, 4)[i] *= 1e-38f;
  }
  c.run();
  for (int64_t i = 0; i < n; ++i) {
    EXPECT_EQ(alone[size_t(i)], c.result(0)[i]);
    EXPECT_FALSE(std::isfinite(c.result(1)[i]));
    EXPECT_FALSE(std::isfinite(c.result(2)[i]));
    EXPECT_EQ(0.0f, c.result(3)[i]);
    EXPECT_NEAR(0.0f, c.result(4)[i], 1e-35f);
    EXPECT_EQ(alone[size_t(i)], c.result(5)[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Linear,
    testing::Combine(testing::Values(Level::V3, Level::AVX512),
                     testing::Values(Format::F32, Format::BF16, Format::Q8,
                                     Format::Q4)),
    [](const auto &info) {
      return std::string(std::get<0>(info.param) == Level::V3 ? "V3"
                                                              : "AVX512") +
             adaptive::kernels::formatName(std::get<1>(info.param)).str();
    });

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementary functions against libm in double, over a sweep of all f32 bit
// patterns; the bodies of map.

#include "Harness.h"

#include "gtest/gtest.h"

#include <bit>
#include <cmath>

using namespace kernels_test;

namespace {

struct Function {
  const char *op;
  double (*reference)(double);
  double maxUlps;
  double absolute; ///< error allowed anyway: below what f32 normal numbers hold
};

double rsqrt(double x) { return 1 / std::sqrt(x); }

class Elementary : public testing::TestWithParam<std::tuple<Level, Function>> {
};

TEST_P(Elementary, StaysWithinItsBound) {
  auto [level, function] = GetParam();
  if (!runsHere(level))
    GTEST_SKIP();
  constexpr int64_t width = 1000, rows = 4000;
  Case c(level, "%x: tensor<?x1000xf32>",
         std::string("%y = adaptive.map(%x) : (tensor<?x1000xf32>) -> "
                     "tensor<?x1000xf32> {\n^bb0(%a: f32):\n%b = ") +
             function.op + " %a : f32\nadaptive.yield %b : f32\n}");
  EXPECT_TRUE(c.declared.empty()) << c.declared.front();
  c.rows(rows);
  // Every 1073rd bit pattern, and the special ones.
  uint32_t bits = 0;
  for (int64_t i = 0; i < rows * width; ++i, bits += 1073)
    c.input(0, i / width)[i % width] = std::bit_cast<float>(bits);
  const float special[] = {0.0f,    -0.0f,       INFINITY,   -INFINITY,
                           NAN,     0x1p-149f,   1.0f,       -1.0f,
                           88.7f,   88.73f,      -87.4f,     -103.9f,
                           -104.1f, 0x1p-126f,   3.999f,     0x1.fffffep127f,
                           0.625f,  0.62499994f, 0.99999994f};
  std::copy(std::begin(special), std::end(special), c.input(0, 0));
  c.run();
  double worst = 0, at = 0;
  for (int64_t i = 0; i < rows * width; ++i) {
    float x = c.input(0, i / width)[i % width];
    float y = c.result(i / width)[i % width];
    double expected = function.reference(double(x));
    if (std::fabs(double(y) - expected) <= function.absolute)
      continue;
    double error = ulps(y, expected);
    if (!(error <= worst)) {
      worst = error;
      at = double(x);
    }
  }
  EXPECT_LE(worst, function.maxUlps) << "at " << at;
  RecordProperty("ulps", std::to_string(worst));
}

INSTANTIATE_TEST_SUITE_P(
    All, Elementary,
    testing::Combine(testing::Values(Level::V3, Level::AVX512),
                     testing::Values(Function{"math.exp", std::exp, 1.1, 0},
                                     Function{"math.log", std::log, 1.1, 0},
                                     Function{"math.tanh", std::tanh, 2, 0},
                                     Function{"math.erf", std::erf, 2, 0},
                                     Function{"math.sqrt", std::sqrt, 0.5, 0},
                                     Function{"math.rsqrt", rsqrt, 1.5, 0})),
    [](const auto &info) {
      std::string name = std::get<1>(info.param).op;
      return name.substr(5) +
             (std::get<0>(info.param) == Level::V3 ? "V3" : "AVX512");
    });

TEST(Map, MixesRowsAndBroadcastsInPlace) {
  for (Level level : levelsHere())
    for (RowBuffer::Kind kind : {RowBuffer::Arena, RowBuffer::RowStore}) {
      Options options;
      options.rows = kind;
      options.inPlace = true;
      Case c(
          level,
          "%a: tensor<?x37xf32>, %w: tensor<37xf32>, %b: tensor<?x37xf32>",
          R"(%y = adaptive.map(%a, %w, %b) : (tensor<?x37xf32>, tensor<37xf32>, tensor<?x37xf32>) -> tensor<?x37xf32> {
^bb0(%x: f32, %v: f32, %z: f32):
  %zero = arith.constant 0.0 : f32
  %p = arith.mulf %x, %v : f32
  %q = arith.subf %p, %z : f32
  %c = arith.cmpf ogt, %q, %zero : f32
  %r = arith.select %c, %q, %zero : f32
  adaptive.yield %r : f32
})",
          options);
      c.rows(5);
      auto w = randomFloats(37, 1), a = randomFloats(37 * 5, 2),
           b = randomFloats(37 * 5, 3);
      c.setWeight(1, w);
      for (int64_t i = 0; i < 37 * 5; ++i) {
        c.input(0, i / 37)[i % 37] = a[size_t(i)];
        c.input(2, i / 37)[i % 37] = b[size_t(i)];
      }
      c.run(1);
      for (int64_t i = 0; i < 37 * 5; ++i) {
        // Two roundings: nothing may be contracted.
        volatile float product = a[size_t(i)] * w[size_t(i % 37)];
        float expected = std::max(product - b[size_t(i)], 0.0f);
        ASSERT_EQ(expected, c.result(i / 37)[i % 37]) << i;
      }
    }
}

TEST(Map, RefusesWhatItCannotExpand) {
  EXPECT_EXIT(Case(Level::V3, "%x: tensor<?x16xf32>",
                   "%y = adaptive.map(%x) : (tensor<?x16xf32>) -> "
                   "tensor<?x16xf32> {\n^bb0(%a: f32):\n%b = math.cbrt %a : "
                   "f32\nadaptive.yield %b : f32\n}"),
              testing::ExitedWithCode(2), "no kernel for 'math.cbrt'");
}

} // namespace

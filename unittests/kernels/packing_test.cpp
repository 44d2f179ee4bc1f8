// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packing and unpacking; what weights born in a quantised format keep.

#include "Harness.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>

using namespace kernels_test;
using namespace adaptive::cpu;

namespace {

std::vector<float> roundTrip(const Packing &p, const std::vector<float> &w,
                             bool transposed) {
  Bytes packed(size_t(p.bytes()));
  if (transposed)
    packMatrix(p, w.data(), 1, p.n, packed.data());
  else
    packMatrix(p, w.data(), p.k, 1, packed.data());
  std::vector<float> out(w.size());
  unpackMatrix(p, packed.data(), out.data());
  return out;
}

/// The f16 nearest to a value, as f32.
float half(float value) { return float(_Float16(value)); }

TEST(Packing, SizesAreWholePanelsAndGroups) {
  EXPECT_EQ(2 * 45 * 64 * 4, (Packing{Format::F32, 65, 45}.bytes()));
  EXPECT_EQ(2 * 23 * 64 * 4, (Packing{Format::BF16, 65, 45}.bytes()));
  EXPECT_EQ(2 * 2 * (2048 + 128), (Packing{Format::Q8, 65, 45}.bytes()));
  EXPECT_EQ(2 * 2 * (1024 + 256), (Packing{Format::Q4, 65, 45}.bytes()));
  EXPECT_EQ(65 * 4, (Packing{Format::Plain, 65, 1}.bytes()));
}

TEST(Packing, NamesRoundTrip) {
  for (Format format : {Format::F32, Format::BF16, Format::Q8, Format::Q4})
    EXPECT_EQ(format, parseFormat(formatName(format)));
  EXPECT_FALSE(parseFormat("q5"));
}

TEST(Packing, ErrorsStayWithinTheFormat) {
  for (bool transposed : {false, true})
    for (auto [n, k] :
         {std::pair(64, 32), std::pair(70, 45), std::pair(3, 100)}) {
      auto w = randomFloats(size_t(n * k), 3);
      auto at = [&](int64_t i, int64_t j) {
        return w[size_t(transposed ? j * n + i : i * k + j)];
      };
      auto worst = [&](Format format) {
        auto out = roundTrip({format, n, k}, w, transposed);
        double error = 0, square = 0;
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < k; ++j) {
            double d = double(out[size_t(i * k + j)]) - double(at(i, j));
            error += d * d;
            square += double(at(i, j)) * double(at(i, j));
          }
        return std::sqrt(error / square);
      };
      EXPECT_EQ(0, worst(Format::F32));
      EXPECT_LT(worst(Format::BF16), 0.0025);
      EXPECT_LT(worst(Format::Q8), 0.007);
      EXPECT_LT(worst(Format::Q4), 0.09);
    }
}

TEST(Packing, RoundsBF16ToNearestEven) {
  // Half a unit above an even and an odd neighbour.
  auto out = roundTrip({Format::BF16, 1, 4},
                       {1.00390625f, 1.01171875f, INFINITY, NAN}, false);
  EXPECT_EQ(1.0f, out[0]);
  EXPECT_EQ(1.015625f, out[1]);
  EXPECT_EQ(INFINITY, out[2]);
  EXPECT_TRUE(std::isnan(out[3]));
}

TEST(Packing, KeepsWhatWasBornAsQ8) {
  std::mt19937 random(4);
  std::vector<float> w;
  for (int group = 0; group < 500; ++group) {
    float d = half(
        std::ldexp(float(random() % 1024 + 1024), -int(random() % 12) - 12));
    for (int i = 0; i < 32; ++i)
      w.push_back(d * float(i == 7 ? 127 : int(random() % 255) - 127));
  }
  EXPECT_EQ(w, roundTrip({Format::Q8, 50, 320}, w, false));
}

/// Weights d * q + m with codes of a given range.
std::vector<float> bornAsQ4(int lowest, int highest, uint32_t seed,
                            bool negative) {
  std::mt19937 random(seed);
  std::vector<float> w;
  for (int group = 0; group < 400; ++group) {
    float d = half(
        std::ldexp(float(random() % 1024 + 1024), -int(random() % 8) - 14));
    float m = half(-8 * d * float(random() % 1000) / 600);
    if (negative) { // the form d * (q - 8)
      d = -d;
      m = half(-8 * d);
    }
    for (int i = 0; i < 32; ++i)
      w.push_back(
          d * float(lowest + int(random() % unsigned(highest - lowest + 1))) +
          m);
  }
  return w;
}

TEST(Packing, KeepsWhatWasBornAsQ4) {
  for (auto [lowest, highest] :
       {std::pair(0, 15), std::pair(1, 15), std::pair(0, 14), std::pair(3, 9),
        std::pair(6, 7), std::pair(11, 11)})
    for (bool negative : {false, true}) {
      auto w =
          bornAsQ4(lowest, highest, uint32_t(lowest * 16 + highest), negative);
      EXPECT_EQ(w, roundTrip({Format::Q4, 40, 320}, w, false))
          << "codes " << lowest << " to " << highest
          << (negative ? ", negative scale" : "");
    }
  std::vector<float> zero(320), constant(320, 0.3333f);
  EXPECT_EQ(zero, roundTrip({Format::Q4, 10, 32}, zero, false));
  auto out = roundTrip({Format::Q4, 10, 32}, constant, false);
  EXPECT_NEAR(0.3333, double(out[0]), 1e-6);
}

TEST(Packing, Q4HasNoWorseErrorThanMinMax) {
  auto w = randomFloats(32 * 200, 9);
  auto out = roundTrip({Format::Q4, 200, 32}, w, false);
  double mine = 0, plain = 0;
  for (size_t g = 0; g < 200; ++g) {
    float low = *std::min_element(&w[g * 32], &w[g * 32 + 32]);
    float high = *std::max_element(&w[g * 32], &w[g * 32 + 32]);
    float d = half((high - low) / 15), m = half(low);
    double mineHere = 0, plainHere = 0;
    for (size_t i = g * 32; i < g * 32 + 32; ++i) {
      float code = std::clamp(std::nearbyint((w[i] - m) / d), 0.0f, 15.0f);
      plainHere += std::pow(double(w[i] - (d * code + m)), 2);
      mineHere += std::pow(double(w[i] - out[i]), 2);
    }
    EXPECT_LE(mineHere, plainHere * (1 + 1e-5));
    mine += mineHere;
    plain += plainHere;
  }
  EXPECT_LT(mine, 0.9 * plain);
}

TEST(Packing, NotANumberStaysVisible) {
  std::vector<float> w(64, 1.0f);
  w[40] = NAN;
  for (Format format : {Format::Q8, Format::Q4}) {
    auto out = roundTrip({format, 2, 32}, w, false);
    EXPECT_TRUE(std::isnan(out[35]));
    EXPECT_NEAR(1.0f, out[0], 1e-3f);
  }
}

} // namespace

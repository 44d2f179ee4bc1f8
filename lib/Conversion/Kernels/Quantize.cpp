// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rounding of weight groups. The exact search comes first: a file whose weights
// were born in a format of scale and minimum keeps them to the bit.

#include "Quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

using namespace adaptive::kernels;

static constexpr uint16_t halfNaN = 0x7e00;

float adaptive::kernels::halfToFloat(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
           frac = bits & 1023;
  if (exponent == 31)
    return std::bit_cast<float>(sign | 0x7f800000 | frac << 13);
  if (exponent == 0) {
    float magnitude = float(frac) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | frac << 13);
}

uint16_t adaptive::kernels::floatToHalf(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000)
    return sign | 0x7e00;
  if (bits >= 0x477ff000) // 65520 and above round to infinity
    return sign | 0x7c00;
  if (bits < 0x38800000) // subnormal: units of 2^-24
    return sign | uint16_t(std::lrint(std::bit_cast<float>(bits) * 0x1p24f));
  uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
  return sign | uint16_t((rounded >> 13) - (112 << 10));
}

uint16_t adaptive::kernels::floatToBFloat(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// Nearest integer, ties to even, for |x| < 2^22. Compilers vectorise it.
static float roundEven(float x) { return (x + 12582912.0f) - 12582912.0f; }

static bool allFinite(const float *w) {
  return std::all_of(w, w + 32, [](float x) { return std::isfinite(x); });
}

Q8Group adaptive::kernels::quantizeQ8(const float *w) {
  if (!allFinite(w))
    return {{}, halfNaN};
  float largest = 0;
  for (int i = 0; i < 32; ++i)
    largest = std::max(largest, std::fabs(w[i]));
  Q8Group best{};
  double bestError = std::numeric_limits<double>::infinity();
  int base = floatToHalf(largest / 127.0f);
  for (int step : {0, 1, -1}) {
    int bits = base + step;
    if (bits < 0 || bits >= 0x7c00)
      continue;
    Q8Group q{{}, uint16_t(bits)};
    float scale = halfToFloat(q.scale);
    double error = 0;
    for (int i = 0; i < 32; ++i) {
      float code = scale > 0
                       ? roundEven(std::clamp(w[i] / scale, -127.0f, 127.0f))
                       : 0.0f;
      q.codes[i] = int8_t(code);
      double d = double(w[i]) - double(scale) * code;
      error += d * d;
    }
    if (error < bestError) {
      bestError = error;
      best = q;
    }
  }
  return best;
}

namespace {

/// Tries scale and min; true when they give every weight exactly.
bool tryExact(const float *w, float scale, float min, Q4Group &q) {
  q.scale = floatToHalf(scale);
  q.min = floatToHalf(min);
  float d = halfToFloat(q.scale), m = halfToFloat(q.min);
  if (!std::isfinite(d) || !std::isfinite(m))
    return false;
  for (int i = 0; i < 32; ++i) {
    float code =
        d != 0 ? roundEven(std::clamp((w[i] - m) / d, 0.0f, 15.0f)) : 0.0f;
    if (d * code + m != w[i])
      return false;
    q.codes[i] = uint8_t(code);
  }
  return true;
}

/// The smallest and largest weight lie s steps apart and one of them has code
/// first: 15 * 16 / 2 combinations, of which most fail at their scale, because
/// an f32 difference is rarely s times a number of 11 bits.
bool findExact(const float *w, Q4Group &q) {
  float low = *std::min_element(w, w + 32), high = *std::max_element(w, w + 32);
  if (low == high) {
    if (tryExact(w, 0, low, q))
      return true;
    // One value of up to 22 bits: code 1 adds what the minimum lacks.
    float m = halfToFloat(floatToHalf(low));
    return tryExact(w, low - m, m, q);
  }
  double difference = double(high) - double(low);
  // The two ends carry at most half a unit in the last place of f32 each.
  double slack = 0x1p-23 * std::max(std::fabs(low), std::fabs(high));
  for (int s = 15; s >= 1; --s) {
    float d = halfToFloat(floatToHalf(float(difference / s)));
    if (!std::isfinite(d) || std::fabs(double(d) * s - difference) > slack)
      continue;
    for (int first = 0; first + s <= 15; ++first) {
      if (tryExact(w, d, float(double(low) - double(d) * first), q))
        return true;
      // A negative scale: the largest weight has the smallest code.
      if (tryExact(w, -d, float(double(high) + double(d) * first), q))
        return true;
    }
  }
  return false;
}

/// Codes nearest to the weights; the squared error.
float assignCodes(const float *w, float d, float m, float *codes) {
  float inverse = d != 0 ? 1.0f / d : 0.0f, error = 0;
  for (int i = 0; i < 32; ++i) {
    float code =
        roundEven(std::min(std::max((w[i] - m) * inverse, 0.0f), 15.0f));
    codes[i] = code;
    float e = w[i] - (d * code + m);
    error += e * e;
  }
  return error;
}

} // namespace

Q4Group adaptive::kernels::quantizeQ4(const float *w) {
  Q4Group best{};
  if (!allFinite(w))
    return {{}, halfNaN, 0};
  if (findExact(w, best))
    return best;
  float low = *std::min_element(w, w + 32), high = *std::max_element(w, w + 32);
  float bestError = std::numeric_limits<float>::infinity();
  float codes[32];
  double sumW = 0;
  for (int i = 0; i < 32; ++i)
    sumW += double(w[i]);
  for (float shrink : {1.0f, 0.96f, 0.92f, 0.88f, 0.84f, 0.8f}) {
    float middle = (low + high) / 2, d = (high - low) * shrink / 15;
    float m = middle - 7.5f * d;
    for (int round = 0; round < 3; ++round) {
      uint16_t dBits = floatToHalf(d), mBits = floatToHalf(m);
      float dHalf = halfToFloat(dBits), mHalf = halfToFloat(mBits);
      if (!std::isfinite(dHalf) || !std::isfinite(mHalf))
        break;
      float error = assignCodes(w, dHalf, mHalf, codes);
      if (error < bestError) {
        bestError = error;
        best.scale = dBits;
        best.min = mBits;
        for (int i = 0; i < 32; ++i)
          best.codes[i] = uint8_t(codes[i]);
      }
      // Regression of the weights on their codes gives the next line.
      double sumQ = 0, sumQQ = 0, sumQW = 0;
      for (int i = 0; i < 32; ++i) {
        sumQ += codes[i];
        sumQQ += double(codes[i]) * codes[i];
        sumQW += double(codes[i]) * double(w[i]);
      }
      double determinant = 32 * sumQQ - sumQ * sumQ;
      if (determinant <= 0)
        break;
      d = float((32 * sumQW - sumQ * sumW) / determinant);
      m = float((sumW - double(d) * sumQ) / 32);
    }
  }
  return best;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From 32 weights to codes with a scale (and a minimum), and number formats. A
// group that holds an infinity or NaN becomes NaN.

#ifndef ADAPTIVE_LIB_CONVERSION_KERNELS_QUANTIZE_H
#define ADAPTIVE_LIB_CONVERSION_KERNELS_QUANTIZE_H

#include <array>
#include <cstdint>

namespace adaptive::kernels {

float halfToFloat(uint16_t bits);
/// Rounds to nearest, ties to even; beyond the range gives infinity.
uint16_t floatToHalf(float value);
uint16_t floatToBFloat(float value);

/// w = scale * code, code -127..127.
struct Q8Group {
  std::array<int8_t, 32> codes;
  uint16_t scale;
};
/// The scale is max|w| / 127 in f16, or whatever neighbour has the least
/// squared error. Exact for weights born as f16 scale times s8 code with a code
/// of magnitude 127.
Q8Group quantizeQ8(const float *w);

/// w = scale * code + min, code 0..15.
struct Q4Group {
  std::array<uint8_t, 32> codes;
  uint16_t scale, min;
};
/// If f16 scale and min exist that give all 32 weights exactly, they are found;
/// otherwise the least squared error among shrunk ranges, each refined by
/// regression, is taken.
Q4Group quantizeQ4(const float *w);

} // namespace adaptive::kernels

#endif // ADAPTIVE_LIB_CONVERSION_KERNELS_QUANTIZE_H

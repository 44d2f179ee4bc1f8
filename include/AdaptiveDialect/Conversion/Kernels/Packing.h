// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packed weights: layouts and the packer. The layouts serve every target.

#ifndef ADAPTIVEDIALECT_CONVERSION_KERNELS_PACKING_H
#define ADAPTIVEDIALECT_CONVERSION_KERNELS_PACKING_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace adaptive::kernels {

/// Plain: f32 in the order of the tensor (vectors, tables). The others are
/// panels of 64 outputs of a matrix [N, K]; N is padded with zeros to whole
/// panels, K to whole groups (bf16: 2, q8 and q4: 32).
///   F32   [panel][K][64]
///   BF16  [panel][K/2][64][2]
///   Q8    [panel][K/32]{ [8][64][4] u8 code, [64] f16 scale },
///         w = scale * (code - 128), code 1..255
///   Q4    [panel][K/32]{ [4][64][4] u8, [64] f16 scale, [64] f16 min },
///         w = scale * code + min, code 0..15; byte [c][n][i] holds the codes
///         of k = 8 c + i (low nibble) and k = 8 c + 4 + i (high nibble)
enum class Format { Plain, F32, BF16, Q8, Q4 };

std::optional<Format>
parseFormat(llvm::StringRef name); // "f32", "bf16", "q8", "q4"
llvm::StringRef formatName(Format format);

struct Packing {
  Format format = Format::Plain;
  int64_t n = 0; ///< outputs (Plain: number of elements)
  int64_t k = 0; ///< inputs (Plain: 1)
  static constexpr int64_t panel = 64;
  static constexpr int64_t group = 32; ///< inputs that share a scale (q8, q4)
  static constexpr int64_t q8ScaleOffset = 2048, q8GroupBytes = 2176;
  static constexpr int64_t q4ScaleOffset = 1024, q4MinOffset = 1152,
                           q4GroupBytes = 1280;
  int64_t panels() const { return (n + panel - 1) / panel; }
  int64_t groups() const { return (k + group - 1) / group; }
  int64_t panelBytes() const;
  int64_t bytes() const;
};

/// Packs the matrix value(n, k) = source[n * strideN + k * strideK] into `out`
/// (packing.bytes() bytes, 64-byte aligned). Q4 keeps weights that were born in
/// a format of scale and minimum per 32 exactly.
void packMatrix(const Packing &packing, const float *source, int64_t strideN,
                int64_t strideK, uint8_t *out);

/// Inverse of packMatrix up to rounding: writes value(n, k) to out[n * k_ + k].
void unpackMatrix(const Packing &packing, const uint8_t *packed, float *out);

} // namespace adaptive::kernels

#endif // ADAPTIVEDIALECT_CONVERSION_KERNELS_PACKING_H

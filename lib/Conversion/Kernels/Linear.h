// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the weight formats bring to a linear layer: how rows are packed for them
// and the inner loop over K of one register tile.

#ifndef ADAPTIVE_LIB_CONVERSION_KERNELS_LINEAR_H
#define ADAPTIVE_LIB_CONVERSION_KERNELS_LINEAR_H

#include "Emit.h"

namespace adaptive::kernels {

/// Rows of a full register tile.
inline constexpr int64_t tileRows = 6;
/// Wide values of a panel.
inline constexpr int64_t panelVectors = Packing::panel / lanes;

/// A register tile: m rows times v wide outputs, from `first` (an i64) on.
struct Tile {
  llvm::ArrayRef<Value>
      rows; ///< inputs: f32 rows, or rows packed as the format wants
  int64_t v;
  Value first;
  bool prefetch; ///< the tile may be the first to read its weights
};

/// Asks for weights the tile will read some iterations on. Hardware prefetchers
/// stop at pages of 4 KiB, which is what weights mapped from a file have; few
/// instructions wait between loads only when a single row runs.
void prefetchAhead(Kernel &k, const Tile &tile, Value address);

/// Sums over K of each row and wide output, row by row.
Values accumulateF32(Kernel &k, const Packing &packing, Value panel,
                     const Tile &tile);
Values accumulateBF16(Kernel &k, const Packing &packing, Value panel,
                      const Tile &tile);
Values accumulateInt(Kernel &k, const Packing &packing, Value panel,
                     const Tile &tile);

/// A row packed for integer weights: s8 codes padded with zeros to whole
/// groups, then per group the f32 scale, -128 times the sum of the codes (i32;
/// what u8 codes of signed weights need), scale times the sum of the codes
/// (f32; what a minimum is multiplied with).
struct IntRow {
  explicit IntRow(int64_t width);
  int64_t groups, scales, offsets, sums, bytes;
};
/// A row packed for bf16 weights: pairs, padded with a zero.
inline int64_t bf16RowBytes(int64_t width) {
  return align64((width + 1) / 2 * 4);
}

void packRowBF16(Kernel &k, int64_t width, Value in, Value out);
void packRowInt(Kernel &k, int64_t width, Value in, Value out);

} // namespace adaptive::kernels

#endif // ADAPTIVE_LIB_CONVERSION_KERNELS_LINEAR_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Inner loops of linear layers on f32 and bf16 weights. Per output one chain of
// fused steps in ascending k: over all of K for bf16, over blocks of K for f32,
// whose sums are added in ascending order.

#include "Linear.h"

using namespace mlir;
using namespace adaptive::kernels;

/// Inputs per block of an f32 sum. A chain over all of K would lose about
/// sqrt(K) roundings; blocks that are summed on their own lose far fewer, at
/// the price of one addition per output and block.
static constexpr int64_t sumBlock = 64;

Values adaptive::kernels::accumulateF32(Kernel &k, const Packing &packing,
                                        Value panel, const Tile &tile) {
  Value base = k.at(panel, tile.first, lanes * 4);
  Values zeros(tile.rows.size() * tile.v, k.vcf(0));
  // Sums of the inputs [from, to), in ascending order.
  auto block = [&](Value from, Value to) {
    return k.loop(from, to, 1, zeros, [&](Value i, ValueRange sums) {
      Value line = k.at(base, i, Packing::panel * 4);
      Values weights, next;
      for (int64_t c = 0; c < tile.v; ++c) {
        prefetchAhead(k, tile, k.at(line, c * lanes * 4));
        weights.push_back(k.load(k.vf32, k.at(line, c * lanes * 4)));
      }
      for (auto [r, row] : llvm::enumerate(tile.rows)) {
        Value x = k.splat(k.load(k.f32, k.at(row, i, 4)));
        for (int64_t c = 0; c < tile.v; ++c)
          next.push_back(k.fma(x, weights[c], sums[r * tile.v + c]));
      }
      return next;
    });
  };
  auto add = [&](ValueRange totals, ValueRange sums) {
    Values next;
    for (auto [total, sum] : llvm::zip(totals, sums))
      next.push_back(k.add(total, sum));
    return next;
  };
  int64_t whole = packing.k / sumBlock * sumBlock;
  Values totals = zeros;
  if (whole > 0)
    totals = k.loop(k.c64(0), k.c64(whole), sumBlock, zeros,
                    [&](Value from, ValueRange carried) {
                      return add(carried, block(from, k.add(from, sumBlock)));
                    });
  if (whole < packing.k)
    totals = add(totals, block(k.c64(whole), k.c64(packing.k)));
  return totals;
}

void adaptive::kernels::packRowBF16(Kernel &k, int64_t width, Value in,
                                    Value out) {
  // The even width is filled up with a zero before the rows are read again.
  if (width % 2)
    k.store(k.zero(k.i16), k.at(out, width * 2));
  k.forLanes(width, [&](Value i, Value mask) {
    Value x = k.load(k.vf32, k.at(in, i, 4), mask);
    Value bits = k.bitcast(x, k.vi32);
    Value odd = k.andi(k.lshr(bits, 16), k.vci(1));
    Value rounded = k.add(k.add(bits, k.vci(0x7fff)), odd);
    Value quiet = k.ori(bits, k.vci(0x400000));
    Value high = k.lshr(k.select(k.isNaN(x), quiet, rounded), 16);
    k.store(k.truncTo(high, k.vec(k.i16)), k.at(out, i, 2), mask);
  });
}

Values adaptive::kernels::accumulateBF16(Kernel &k, const Packing &packing,
                                         Value panel, const Tile &tile) {
  Value base = k.at(panel, tile.first, lanes * 4);
  Values init(tile.rows.size() * tile.v, k.vcf(0));
  return k.loop(
      k.c64(0), k.c64((packing.k + 1) / 2), 1, init,
      [&](Value i, ValueRange sums) {
        Value line = k.at(base, i, Packing::panel * 4);
        Values weights, next;
        for (int64_t c = 0; c < tile.v; ++c) {
          prefetchAhead(k, tile, k.at(line, c * lanes * 4));
          weights.push_back(k.load(k.vi32, k.at(line, c * lanes * 4)));
        }
        for (auto [r, row] : llvm::enumerate(tile.rows)) {
          Value x = k.splat(k.load(k.i32, k.at(row, i, 4)));
          for (int64_t c = 0; c < tile.v; ++c) {
            next.push_back(
                k.target->dotBF16(k, sums[r * tile.v + c], weights[c], x));
          }
        }
        return next;
      });
}

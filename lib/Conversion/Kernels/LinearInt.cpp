// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Inner loops of linear layers on q8 and q4 weights: exact integer sums over
// groups of 32, combined in f32 in ascending order of the groups.

#include "Linear.h"

#include <limits>

using namespace mlir;
using namespace adaptive::kernels;

IntRow::IntRow(int64_t width)
    : groups((width + Packing::group - 1) / Packing::group),
      scales(align64(groups * Packing::group)),
      offsets(scales + align64(groups * 4)),
      sums(offsets + align64(groups * 4)), bytes(sums + align64(groups * 4)) {}

void adaptive::kernels::packRowInt(Kernel &k, int64_t width, Value in,
                                   Value out) {
  IntRow layout(width);
  auto packGroup = [&](Value g, int64_t valid) {
    Values x;
    for (int64_t h = 0; h < 2; ++h) {
      Value mask =
          valid >= (h + 1) * lanes ? Value() : k.constMask(valid - h * lanes);
      x.push_back(k.load(k.vf32, k.at(k.at(in, g, 128), h * 64), mask));
    }
    // As integers, magnitudes are ordered with infinity and NaN at the top.
    auto magnitude = [&](Value v) {
      return k.andi(k.bitcast(v, k.vi32), k.vci(0x7fffffff));
    };
    Value bits = k.reduceMaxU(k.maxU(magnitude(x[0]), magnitude(x[1])));
    Value largest = k.bitcast(bits, k.f32);
    Value finite = k.ult(bits, k.c32(0x7f800000));
    // Below this, 127 / largest overflows; such a group counts as zero.
    Value usable = k.cmp(Cmp::GE, largest, k.cf(4e-37f));
    Value one = k.select(k.andi(finite, usable), largest, k.cf(1));
    Value nothing = k.select(finite, k.cf(0),
                             k.cf(std::numeric_limits<float>::quiet_NaN()));
    Value live = k.andi(finite, usable);
    Value scale = k.select(live, k.div(one, k.cf(127)), nothing);
    Value inverse = k.splat(k.select(live, k.div(k.cf(127), one), k.cf(0)));
    Value magic = k.vcf(12582912.0f), total;
    for (int64_t h = 0; h < 2; ++h) {
      // Rounds to the nearest code, ties to even, without a conversion that an
      // infinity or NaN would make undefined.
      Value shifted = k.add(k.mul(x[h], inverse), magic);
      Value code = k.sub(k.bitcast(shifted, k.vi32), k.bitcast(magic, k.vi32));
      code = k.select(k.splat(live), code, k.vci(0));
      k.store(k.truncTo(code, k.vec(k.i8)), k.at(k.at(out, g, 32), h * lanes));
      total = total ? k.add(total, code) : code;
    }
    Value sum = k.reduceAdd(total);
    auto meta = [&](int64_t offset) { return k.at(k.at(out, offset), g, 4); };
    k.store(scale, meta(layout.scales));
    k.store(k.mul(sum, int64_t(-128)), meta(layout.offsets));
    k.store(k.mul(scale, k.sitofp(sum)), meta(layout.sums));
  };
  int64_t full = width / Packing::group, rest = width % Packing::group;
  k.loop(k.c64(0), k.c64(full), 1,
         [&](Value g) { packGroup(g, Packing::group); });
  if (rest)
    packGroup(k.c64(full), rest);
}

void adaptive::kernels::prefetchAhead(Kernel &k, const Tile &tile,
                                      Value address) {
  if (tile.prefetch)
    k.prefetch(k.at(address, 4096));
}

Values adaptive::kernels::accumulateInt(Kernel &k, const Packing &packing,
                                        Value panel, const Tile &tile) {
  bool nibbles = packing.format == Format::Q4;
  int64_t m = tile.rows.size(), v = tile.v;
  IntRow layout(packing.k);
  Value codes = k.at(panel, tile.first, lanes * 4);
  Value scales = k.at(panel, tile.first, lanes * 2);
  int64_t groupBytes = nibbles ? Packing::q4GroupBytes : Packing::q8GroupBytes;
  Values init(m * v, k.vcf(0));
  return k.loop(
      k.c64(0), k.c64(packing.groups()), 1, init,
      [&](Value g, ValueRange sums) {
        Value group = k.at(codes, g, groupBytes),
              scaleGroup = k.at(scales, g, groupBytes);
        auto meta = [&](int64_t r, int64_t offset, Type type) {
          return k.splat(k.load(type, k.at(k.at(tile.rows[r], offset), g, 4)));
        };
        // u8 codes of signed weights are 128 too large: start at -128 sum(x).
        Values dots;
        for (int64_t r = 0; r < m; ++r)
          dots.append(v, nibbles ? k.vci(0) : meta(r, layout.offsets, k.i32));
        Values bytes(v);
        for (int64_t quad = 0; quad < Packing::group / 4; ++quad) {
          for (int64_t c = 0; c < v; ++c) {
            int64_t block = (nibbles ? quad / 2 : quad) * Packing::panel * 4 +
                            c * lanes * 4;
            if (!nibbles || quad % 2 == 0)
              prefetchAhead(k, tile, k.at(group, block));
            Value loaded = k.load(k.vi32, k.at(group, block));
            if (nibbles)
              loaded = k.andi(quad % 2 ? k.lshr(loaded, 4) : loaded,
                              k.vci(0x0f0f0f0f));
            bytes[c] = k.bitcast(loaded, k.vi8);
          }
          for (int64_t r = 0; r < m; ++r) {
            Value four =
                k.load(k.i32, k.at(k.at(tile.rows[r], g, 32), quad * 4));
            Value x = k.bitcast(k.splat(four), k.vi8);
            for (int64_t c = 0; c < v; ++c)
              dots[r * v + c] =
                  k.target->dotBytes(k, dots[r * v + c], bytes[c], x, nibbles);
          }
        }
        auto halfs = [&](int64_t offset, int64_t c) {
          return k.extf(
              k.load(k.vec(k.f16), k.at(scaleGroup, offset + c * lanes * 2)));
        };
        Values next(m * v);
        for (int64_t c = 0; c < v; ++c) {
          Value scale = halfs(
              nibbles ? Packing::q4ScaleOffset : Packing::q8ScaleOffset, c);
          Value min = nibbles ? halfs(Packing::q4MinOffset, c) : Value();
          for (int64_t r = 0; r < m; ++r) {
            Value both = k.mul(scale, meta(r, layout.scales, k.f32));
            Value sum = k.fma(k.sitofp(dots[r * v + c]), both, sums[r * v + c]);
            if (min)
              sum = k.fma(min, meta(r, layout.sums, k.f32), sum);
            next[r * v + c] = sum;
          }
        }
        return next;
      });
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Row lookup in a plain table or in the panels of a packed matrix: a tied head
// and embedding share one copy of their weight.

#include "Emit.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

/// Element k of output n of a packed matrix as f32, exactly as unpackMatrix
/// gives it. `panel` is the start of n's panel, `lane` n within it.
static Value packedElement(Kernel &k, Format format, Value panel, Value lane,
                           Value index) {
  constexpr int64_t width = Packing::panel;
  switch (format) {
  case Format::F32:
    return k.load(k.f32, k.at(panel, k.add(k.mul(index, width), lane), 4));
  case Format::BF16: {
    Value pair = k.add(k.mul(k.lshr(index, 1), width), lane);
    Value entry = k.add(k.mul(pair, 2), k.andi(index, k.c64(1)));
    Value bits = k.zext(k.load(k.i16, k.at(panel, entry, 2)), k.i32);
    return k.bitcast(k.shl(bits, 16), k.f32);
  }
  case Format::Q8:
  case Format::Q4: {
    bool nibbles = format == Format::Q4;
    Value group = k.at(panel, k.lshr(index, 5),
                       nibbles ? Packing::q4GroupBytes : Packing::q8GroupBytes);
    Value quad = k.andi(k.lshr(index, 2), k.c64(7)),
          byte = k.andi(index, k.c64(3));
    Value block = nibbles ? k.lshr(quad, 1) : quad;
    Value entry = k.add(k.mul(k.add(k.mul(block, width), lane), 4), byte);
    Value code = k.zext(k.load(k.i8, k.at(group, entry)), k.i32);
    auto half = [&](int64_t offset) {
      return k.extf(k.load(k.f16, k.at(k.at(group, offset), lane, 2)));
    };
    if (!nibbles)
      return k.mul(half(Packing::q8ScaleOffset),
                   k.sitofp(k.sub(code, k.c32(128))));
    Value odd = k.cmp(Cmp::NE, k.andi(quad, k.c64(1)), k.c64(0));
    Value nibble = k.andi(k.select(odd, k.lshr(code, 4), code), k.c32(15));
    return k.fma(half(Packing::q4ScaleOffset), k.sitofp(nibble),
                 half(Packing::q4MinOffset));
  }
  case Format::Plain:
    break;
  }
  llvm_unreachable("plain tables are copied");
}

LogicalResult adaptive::kernels::emitEmbed(EmbedOp op, const Emitter &e) {
  int64_t width = widthOf(op.getType());
  int64_t entries =
      cast<RankedTensorType>(op.getTable().getType()).getDimSize(0);
  WeightRef ref = e.context.weight(op.getTable());
  e.rows(op.getLoc(), width * 16, [&](Kernel &k, Value row) {
    Value id = k.sext(
        k.load(k.i32, k.address(e.context.buffer(op.getIds()), row)), k.i64);
    id = k.select(k.ult(id, k.c64(entries)), id, k.c64(0));
    Value out = k.address(e.context.buffer(op.getResult()), row);
    Value table = k.weight(ref);
    if (ref.packing.format == Format::Plain) {
      Value in = k.at(table, id, width * 4);
      k.forLanes(width, [&](Value i, Value mask) {
        k.store(k.load(k.vf32, k.at(in, i, 4), mask), k.at(out, i, 4), mask);
      });
      return;
    }
    Value panel =
        k.at(table, k.div(id, k.c64(Packing::panel)), ref.packing.panelBytes());
    Value lane = k.rem(id, k.c64(Packing::panel));
    k.loop(k.c64(0), k.c64(width), 1, [&](Value i) {
      k.store(packedElement(k, ref.packing.format, panel, lane, i),
              k.at(out, i, 4));
    });
  });
  return success();
}

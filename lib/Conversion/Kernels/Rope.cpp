// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary positions, and the append of keys and values to their pages.

#include "Emit.h"
#include "ee/abi.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

LogicalResult adaptive::kernels::emitRope(RopeOp op, const Emitter &e) {
  auto table = cast<RankedTensorType>(op.getCos().getType());
  int64_t positions = table.getDimSize(0), half = table.getDimSize(1);
  int64_t width = widthOf(op.getType()), headDim = op.getHeadDim();
  bool interleaved = op.getInterleaved();
  FailureOr<WeightRef> cosRef = plainWeight(op, e, op.getCos());
  FailureOr<WeightRef> sinRef = plainWeight(op, e, op.getSin());
  if (failed(cosRef) || failed(sinRef))
    return failure();

  e.rows(op.getLoc(), width * 8, [&](Kernel &k, Value row) {
    Value position = k.sext(k.column(offsetof(ee_rows, position), row), k.i64);
    position = k.minU(position, k.c64(positions - 1));
    Value cos = k.at(k.weight(*cosRef), position, half * 4);
    Value sin = k.at(k.weight(*sinRef), position, half * 4);
    Value x = k.address(e.context.buffer(op.getInput()), row);
    Value y = k.address(e.context.buffer(op.getResult()), row);
    // Plain multiplies and adds, as the models this comes from compute it.
    auto turn = [&](Value a, Value b, Value c, Value s) {
      return std::pair(k.sub(k.mul(a, c), k.mul(b, s)),
                       k.add(k.mul(b, c), k.mul(a, s)));
    };
    k.loop(k.c64(0), k.c64(width / headDim), 1, [&](Value head) {
      Value in = k.at(x, head, headDim * 4), out = k.at(y, head, headDim * 4);
      if (interleaved)
        k.loop(k.c64(0), k.c64(half), 1, [&](Value j) {
          Value from = k.at(in, j, 8), to = k.at(out, j, 8);
          auto [a, b] = turn(k.load(k.f32, from), k.load(k.f32, k.at(from, 4)),
                             k.load(k.f32, k.at(cos, j, 4)),
                             k.load(k.f32, k.at(sin, j, 4)));
          k.store(a, to);
          k.store(b, k.at(to, 4));
        });
      else
        k.forLanes(half, [&](Value j, Value mask) {
          auto at = [&](Value base, int64_t first) {
            return k.at(k.at(base, first * 4), j, 4);
          };
          auto load = [&](Value address) {
            return k.load(k.vf32, address, mask);
          };
          auto [a, b] = turn(load(at(in, 0)), load(at(in, half)),
                             load(at(cos, 0)), load(at(sin, 0)));
          k.store(a, at(out, 0), mask);
          k.store(b, at(out, half), mask);
        });
      k.forLanes(headDim - 2 * half, [&](Value j, Value mask) {
        Value from = k.at(k.at(in, half * 8), j, 4),
              to = k.at(k.at(out, half * 8), j, 4);
        k.store(k.load(k.vf32, from, mask), to, mask);
      });
    });
  });
  return success();
}

KVAccess::KVAccess(Kernel &k, const KVRef &kv) : k(k), kv(kv) {
  Value level = k.at(k.field(offsetof(ee_stage_args, kv), k.ptr),
                     k.offset(kv.level), sizeof(ee_kv_level));
  pageBytes = k.offset(kv.pageBytes());
  pages = k.load(k.ptr, k.at(level, offsetof(ee_kv_level, pages)));
  table = k.load(k.ptr, k.at(level, offsetof(ee_kv_level, table)));
  stride = k.load(k.i64, k.at(level, offsetof(ee_kv_level, table_stride)));
  layerOffset = k.mul(k.kvLayer, kv.layerBytes());
}
Value KVAccess::page(Value sequence, Value index) {
  Value entry = k.add(k.mul(sequence, stride), index);
  Value page = k.sext(k.load(k.i32, k.at(table, entry, 4)), k.i64);
  return k.at(k.at(pages, k.mul(page, pageBytes)), layerOffset);
}
Value KVAccess::keys(Value page, Value head) {
  return k.at(page, head, kv.headDim * kv.page * 4);
}
Value KVAccess::values(Value page, Value head) {
  return k.at(k.at(page, kv.layerBytes() / 2), head, kv.headDim * kv.page * 4);
}

LogicalResult adaptive::kernels::emitKVAppend(KVAppendOp op, const Emitter &e) {
  KVRef kv = e.context.kv(op);
  Kernel k = e.kernel(op.getLoc());
  KVAccess access(k, kv);
  k.loop(k.begin, k.end, 1, [&](Value row) {
    Value position = k.sext(k.column(offsetof(ee_rows, position), row), k.i64);
    Value sequence = k.sext(k.column(offsetof(ee_rows, sequence), row), k.i64);
    Value page = access.page(sequence, k.div(position, k.c64(kv.page)));
    Value entry = k.rem(position, k.c64(kv.page));
    Value keys = k.address(e.context.buffer(op.getKeys()), row);
    Value values = k.address(e.context.buffer(op.getValues()), row);
    k.loop(k.c64(0), k.c64(kv.heads), 1, [&](Value head) {
      Value fromK = k.at(keys, head, kv.headDim * 4),
            fromV = k.at(values, head, kv.headDim * 4);
      Value toK = k.at(access.keys(page, head), entry, 4);
      Value toV = k.at(access.values(page, head), entry, kv.headDim * 4);
      k.loop(k.c64(0), k.c64(kv.headDim), 1, [&](Value d) {
        k.store(k.load(k.f32, k.at(fromK, d, 4)), k.at(toK, d, kv.page * 4));
      });
      k.forLanes(kv.headDim, [&](Value d, Value mask) {
        k.store(k.load(k.vf32, k.at(fromV, d, 4), mask), k.at(toV, d, 4), mask);
      });
    });
  });
  int64_t bytes = kv.heads * kv.headDim * 16;
  e.launch(k, 1, 0, std::max<int64_t>(1, (32 << 10) / bytes));
  return success();
}

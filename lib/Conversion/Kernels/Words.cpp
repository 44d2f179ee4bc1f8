// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels that move single words: copy, or, mark_depth.

#include "Emit.h"

#include "ee/abi.h"

#include <cstddef>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

void adaptive::kernels::emitCopyKernel(
    Operation *op, Type rows, const RowBuffer &from, const RowBuffer &to,
    StringRef name, const Target &target, const KernelContext &context,
    ModuleOp module, SmallVectorImpl<Launch> &launches) {
  int64_t width = widthOf(rows);
  Emitter e{name, target, context, module, launches};
  e.rows(op->getLoc(), width * 8, [&](Kernel &k, Value row) {
    Value source = k.address(from, row), target = k.address(to, row);
    k.loop(k.c64(0), k.c64(width), 1, [&](Value element) {
      Value word = k.load(k.i32, k.at(source, element, 4));
      k.store(word, k.at(target, element, 4));
    });
  });
}

/// Writes `depth` into the depth column at `slot`.
static void storeDepth(Kernel &k, int64_t depth, Value slot) {
  Value column = k.field(
      offsetof(ee_stage_args, columns) + offsetof(ee_rows, depth), k.ptr);
  k.store(k.truncTo(k.offset(depth), k.i32), k.at(column, slot, 4));
}

void adaptive::kernels::emitSetDepthKernel(Location loc, int64_t depth,
                                           StringRef name, const Target &target,
                                           const KernelContext &context,
                                           ModuleOp module,
                                           SmallVectorImpl<Launch> &launches) {
  Emitter e{name, target, context, module, launches};
  e.rows(loc, 8,
         [&](Kernel &k, Value row) { storeDepth(k, depth, k.slot(row)); });
}

LogicalResult adaptive::kernels::emitCopy(CopyOp op, const Emitter &e) {
  emitCopyKernel(op, op.getType(), e.context.buffer(op.getInput()),
                 e.context.buffer(op.getResult()), e.name, e.target, e.context,
                 e.module, e.launches);
  return success();
}

LogicalResult adaptive::kernels::emitOr(OrOp op, const Emitter &e) {
  auto at = [&](Kernel &k, Value mask, Value row) {
    return k.address(e.context.buffer(mask), row);
  };
  e.rows(op.getLoc(), 12, [&](Kernel &k, Value row) {
    Value lhs = k.load(k.i32, at(k, op.getLhs(), row));
    Value rhs = k.load(k.i32, at(k, op.getRhs(), row));
    k.store(k.ori(lhs, rhs), at(k, op.getResult(), row));
  });
  return success();
}

LogicalResult adaptive::kernels::emitMarkDepth(MarkDepthOp op,
                                               const Emitter &e) {
  e.rows(op.getLoc(), 8, [&](Kernel &k, Value row) {
    Value mask = k.load(k.i32, k.address(e.context.buffer(op.getMask()), row));
    k.ifThen(k.cmp(Cmp::NE, mask, k.c32(0)),
             [&] { storeDepth(k, op.getDepth(), k.slot(row)); });
  });
  return success();
}

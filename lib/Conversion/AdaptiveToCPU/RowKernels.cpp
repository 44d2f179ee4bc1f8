// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels that move single words: copy, or, mark_depth.

#include "Kernels/Builder.h"
#include "StageEmitter.h"

#include "ee/abi.h"

#include <cstddef>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

/// One item is one row.
static void launchRows(StringRef name, SmallVectorImpl<Launch> &launches) {
  Launch launch;
  launch.function = name.str();
  launch.itemsPerRow = 1;
  launch.grain = 16;
  launches.push_back(std::move(launch));
}

void cpu::emitCopyKernel(Type rows, const RowBuffer &from, const RowBuffer &to,
                         StringRef name, ModuleOp module,
                         SmallVectorImpl<Launch> &launches) {
  Kernel k(module, name, Level::V3, module.getLoc());
  int64_t width =
      cast<RankedTensorType>(rows).getRank() == 2 ? widthOf(rows) : 1;
  k.loop(k.begin, k.end, 1, [&](Value row) {
    Value source = k.address(from, row), target = k.address(to, row);
    k.loop(k.c64(0), k.c64(width), 1, [&](Value element) {
      Value word = k.load(k.i32, k.at(source, element, 4));
      k.store(word, k.at(target, element, 4));
    });
  });
  k.finish();
  launchRows(name, launches);
}

void cpu::emitRowKernel(Operation *op, StringRef name,
                        const KernelContext &context, ModuleOp module,
                        SmallVectorImpl<Launch> &launches) {
  if (auto copy = dyn_cast<CopyOp>(op))
    return emitCopyKernel(
        copy.getInput().getType(), context.buffer(copy.getInput()),
        context.buffer(copy.getResult()), name, module, launches);
  Kernel k(module, name, Level::V3, op->getLoc());
  k.loop(k.begin, k.end, 1, [&](Value row) {
    if (auto either = dyn_cast<OrOp>(op)) {
      Value lhs =
          k.load(k.i32, k.address(context.buffer(either.getLhs()), row));
      Value rhs =
          k.load(k.i32, k.address(context.buffer(either.getRhs()), row));
      k.store(k.ori(lhs, rhs),
              k.address(context.buffer(either.getResult()), row));
      return;
    }
    auto mark = cast<MarkDepthOp>(op);
    Value mask = k.load(k.i32, k.address(context.buffer(mark.getMask()), row));
    k.ifThen(k.cmp(Cmp::NE, mask, k.c32(0)), [&] {
      Value column = k.field(
          offsetof(ee_stage_args, columns) + offsetof(ee_rows, depth), k.ptr);
      k.store(k.c32(mark.getDepth()), k.at(column, k.slot(row), 4));
    });
  });
  k.finish();
  launchRows(name, launches);
}

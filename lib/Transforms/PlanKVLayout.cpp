// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Groups unrolled layers into KV levels: a new level starts behind every leave.

#include "AdaptiveDialect/Transforms/Passes.h"

namespace adaptive {
#define GEN_PASS_DEF_PLANKVLAYOUT
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
/// Layers [first, end) that will share pages.
struct Level {
  int64_t first, end;
  KVType shape;
  KVFill fill;
};

struct PlanKVLayout : adaptive::impl::PlanKVLayoutBase<PlanKVLayout> {
  using Base::Base;

  void runOnOperation() override {
    if (page <= 0 || page % 16 != 0) {
      getOperation().emitError(
          "page must be a positive multiple of 16, but got ")
          << page.getValue();
      return signalPassFailure();
    }
    for (auto model : getOperation().getOps<ModelOp>()) {
      unrollRecursion(model);
      SmallVector<Level> levels;
      if (failed(collect(model, levels)))
        return signalPassFailure();
      OpBuilder builder(model);
      for (auto [index, level] : llvm::enumerate(levels))
        KVLevelOp::create(builder, model.getLoc(),
                          ("level" + Twine(index)).str(), level.first,
                          level.end, level.shape.getHeads(),
                          level.shape.getHeadDim(), page, level.fill);
    }
  }

  /// `recurse ... times R` is `layers` over R copies of the weight lists: each
  /// application has KV of its own, the weights are named again and stored
  /// once.
  static void unrollRecursion(ModelOp model) {
    SmallVector<RecurseOp> recursions;
    model.walk([&](RecurseOp op) { recursions.push_back(op); });
    for (RecurseOp op : recursions) {
      SmallVector<Attribute> weights;
      for (int64_t i = 0; i < int64_t(op.getTimes()); ++i)
        llvm::append_range(weights, op.getWeights());
      OpBuilder builder(op);
      auto layers = LayersOp::create(builder, op.getLoc(), op.getType(),
                                     op.getCalleeAttr(), op.getInput(), Value(),
                                     Value(), op.getFirstAttr(),
                                     builder.getArrayAttr(weights), UnitAttr());
      op.replaceAllUsesWith(layers.getResult());
      op.erase();
    }
  }

  LogicalResult collect(ModelOp model, SmallVectorImpl<Level> &levels) {
    bool open = false;
    KVFill fill = KVFill::Exact;
    int64_t next = 0;
    for (Operation &op : model.getBody().front()) {
      if (auto leave = dyn_cast<LeaveOp>(op)) {
        if (int64_t(leave.getDepth()) != next)
          return leave.emitOpError("at depth ")
                 << leave.getDepth() << " stands behind " << next
                 << " layers; an exit lowering must place it behind those that "
                    "rows have run";
        open = false;
        fill = leave.getFill();
        continue;
      }
      auto layers = dyn_cast<LayersOp>(op);
      if (!layers || layers.getNumLayers() == 0)
        continue;
      if (int64_t(layers.getFirst()) != next)
        return op.emitOpError(
                   "layers must be numbered without gaps: expected first ")
               << next << ", but got " << int64_t(layers.getFirst());
      next += layers.getNumLayers();
      auto block = getOperation().lookupSymbol<BlockOp>(layers.getCallee());
      KVType shape;
      block.walk([&](KVAppendOp append) { shape = append.getKv().getType(); });
      if (!shape) // a block without attention holds no positions
        continue;
      if (open && levels.back().shape == shape &&
          levels.back().end == int64_t(layers.getFirst()))
        levels.back().end = next;
      else
        levels.push_back({int64_t(layers.getFirst()), next, shape, fill});
      open = true;
    }
    return success();
  }
};
} // namespace

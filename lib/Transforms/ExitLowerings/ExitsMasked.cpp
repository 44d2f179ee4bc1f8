// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The dense exit lowering, the oracle of all others:
//
//   %y = exit %e, %r score %s      ->   %d = decide %s
//                                       mark_depth %d
//                                       %y = select %d, %e, %r
//
// Under propagate, layers behind the exit keep the frozen rows.

#include "AdaptiveDialect/Transforms/ExitPlacement.h"
#include "AdaptiveDialect/Transforms/Passes.h"
#include "AdaptiveDialect/Transforms/Remarks.h"

#include "llvm/ADT/SmallVector.h"

namespace adaptive {
#define GEN_PASS_DEF_EXITSMASKED
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
struct ExitsMasked : adaptive::impl::ExitsMaskedBase<ExitsMasked> {
  void runOnOperation() override {
    for (auto model : getOperation().getOps<ModelOp>())
      if (failed(lower(model)))
        return signalPassFailure();
  }

  LogicalResult lower(ModelOp model) {
    SmallVector<ExitPointOpInterface> exits = exitsInOrder(model);
    OpBuilder builder(model.getContext());
    SmallVector<Value> decisions;
    // Decide as early as the score allows: the layers that follow must know the
    // frozen rows. A row that left earlier takes no later exit: the nesting of
    // the selects says so.
    for (ExitPointOpInterface exit : exits) {
      builder.setInsertionPoint(placeDecision(exit));
      decisions.push_back(createDecision(builder, exit));
      if (exit.getKVFill() == KVFill::Propagate &&
          failed(freeze(exit, decisions.back())))
        return failure();
    }
    // Shallow exits overrule deep ones, so their depth is recorded last.
    builder.setInsertionPoint(model.getBody().front().getTerminator());
    for (auto [exit, decision] : llvm::reverse(llvm::zip(exits, decisions)))
      MarkDepthOp::create(builder, exit.getLoc(), decision,
                          exit.getExitDepth());
    for (auto [exit, decision] : llvm::zip(exits, decisions)) {
      builder.setInsertionPoint(exit);
      Value selected =
          SelectOp::create(builder, exit.getLoc(), decision,
                           exit.getExitValue(), exit.getRestValue());
      bool freezes = exit.getKVFill() == KVFill::Propagate;
      chose(exit.getLoc(), "adaptive-exits-masked")
          << ("exit " + Twine(exit.getExitIndex()) + " at depth " +
              Twine(exit.getExitDepth()) +
              ": all rows run on, the value is selected" +
              (freezes ? ", rows that left are frozen in later layers" : ""))
                 .str();
      exit->getResult(0).replaceAllUsesWith(selected);
      exit->erase();
    }
    return success();
  }

  /// Makes the layers behind `exit` keep its frozen rows.
  LogicalResult freeze(ExitPointOpInterface exit, Value decision) {
    Value frozen = exit.getExitState();
    bool found = false;
    for (Operation &op : *exit->getBlock()) {
      auto layers = dyn_cast<LayersOp>(op);
      if (!layers || int64_t(layers.getFirst()) < exit.getExitDepth())
        continue;
      if (layers.getKeep()) {
        // Rows frozen by an earlier exit stay frozen there: merge the two.
        OpBuilder builder(layers);
        Location loc = exit.getLoc();
        Value state = SelectOp::create(builder, loc, layers.getKeep(),
                                       layers.getFrozen(), frozen);
        Value either = OrOp::create(builder, loc, decision.getType(),
                                    layers.getKeep(), decision);
        layers.getFrozenMutable().assign(state);
        layers.getKeepMutable().assign(either);
      } else {
        layers.getKeepMutable().assign(decision);
        layers.getFrozenMutable().assign(frozen);
      }
      found = true;
    }
    if (!found)
      return exit->emitError("propagate exit at depth ")
             << exit.getExitDepth() << " has no layers behind it";
    return success();
  }
};
} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Depth groups:
//
//   %y = exit %e, %r score %s    ->   %d = decide %s
//   %t = sample %y                    leave %d { %t0 = sample %e ; yield %t0 }
//   yield %t                          %t = sample %r
//                                     yield %t
//
// What only the exit value needs moves into the region. When the score itself
// needs the exit value (a criterion of the exit's logits), what follows it is
// computed before the decision, so that a token id and not a row of logits
// crosses the cut.

#include "AdaptiveDialect/Transforms/DeadOps.h"
#include "AdaptiveDialect/Transforms/ExitPlacement.h"
#include "AdaptiveDialect/Transforms/Passes.h"
#include "AdaptiveDialect/Transforms/Remarks.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

namespace adaptive {
#define GEN_PASS_DEF_EXITSGROUPED
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// Ops of `block` that `value` needs, in order.
static llvm::SetVector<Operation *> backwardOps(Value value) {
  llvm::SetVector<Operation *> slice;
  BackwardSliceOptions options;
  options.inclusive = true;
  (void)getBackwardSlice(value, &slice, options);
  return slice;
}

namespace {
struct ExitsGrouped : adaptive::impl::ExitsGroupedBase<ExitsGrouped> {
  void runOnOperation() override {
    for (auto model : getOperation().getOps<ModelOp>()) {
      for (ExitPointOpInterface exit : exitsInOrder(model))
        if (failed(lower(model, exit)))
          return signalPassFailure();
    }
  }

  LogicalResult lower(ModelOp model, ExitPointOpInterface exit) {
    Block &body = model.getBody().front();
    auto yield = cast<YieldOp>(body.getTerminator());
    Location loc = exit.getLoc();

    // What turns this exit's result into the model's: cloned for the exit
    // value.
    llvm::SetVector<Operation *> forward;
    ForwardSliceOptions options;
    options.filter = [&](Operation *op) { return op != yield.getOperation(); };
    getForwardSlice(exit->getResult(0), &forward, options);
    for (Operation *op : forward)
      if (isa<LayersOp, RecurseOp>(op))
        return exit->emitError(
                   "the result of an exit must not feed layers; exit at depth ")
               << exit.getExitDepth();

    llvm::SetVector<Operation *> needed = backwardOps(exit.getExitValue());
    Operation *valueOp = exit.getExitValue().getDefiningOp();
    bool scoreNeedsValue =
        valueOp && backwardOps(exit.getExitScore()).contains(valueOp);

    OpBuilder builder(exit.getContext());
    builder.setInsertionPoint(placeDecision(exit));
    Value decision = createDecision(builder, exit);

    IRMapping mapping;
    // What the model yields for the exit value, at the insertion point.
    auto cloneTail = [&] {
      mapping.map(exit->getResult(0),
                  mapping.lookupOrDefault(exit.getExitValue()));
      for (Operation &op : body)
        if (forward.contains(&op))
          builder.clone(op, mapping);
      SmallVector<Value> results;
      for (Value value : yield.getValues())
        results.push_back(mapping.lookupOrDefault(value));
      return results;
    };

    SmallVector<Value> results;
    if (scoreNeedsValue)
      results = cloneTail();

    Value state =
        exit.getKVFill() == KVFill::Propagate ? exit.getExitState() : Value();
    auto leave = LeaveOp::create(builder, loc, decision, state,
                                 exit.getExitIndex(), exit.getExitDepth(),
                                 exit.getKVFill(), exit.getExitName());
    builder.createBlock(&leave.getBody());
    if (!scoreNeedsValue) {
      // Clone what the exit value needs and nothing before the leave provides.
      for (Operation &op : body)
        if (needed.contains(&op) && onlyFor(&op, exit))
          builder.clone(op, mapping);
      results = cloneTail();
    }
    YieldOp::create(builder, loc, results);
    leave.walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        hoistBefore(operand, leave);
    });

    chose(loc, "adaptive-exits-grouped")
        << ("exit '" + leave.getName() + "' at depth " +
            Twine(exit.getExitDepth()) + ": rows that leave " +
            (scoreNeedsValue
                 ? "take what was computed for their score before the decision"
                 : "compute their value behind the decision, alone") +
            ", fill " + stringifyKVFill(exit.getKVFill()))
               .str();
    exit->getResult(0).replaceAllUsesWith(exit.getRestValue());
    exit->erase();
    eraseDeadOps(body, [&](Operation *op) {
      return needed.contains(op) && isOpTriviallyDead(op);
    });
    return success();
  }

  /// True when every use of `op` serves the exit value of `exit` alone.
  static bool onlyFor(Operation *op, ExitPointOpInterface exit) {
    for (Operation *user : op->getUsers()) {
      if (user == exit.getOperation()) {
        // The state or score operand is needed before the leave.
        if (llvm::is_contained(op->getResults(), exit.getExitState()) ||
            llvm::is_contained(op->getResults(), exit.getExitScore()) ||
            llvm::is_contained(op->getResults(), exit.getRestValue()))
          return false;
        continue;
      }
      if (isa<LeaveOp, YieldOp>(user) || user->getBlock() != op->getBlock())
        return false;
      if (!onlyFor(user, exit))
        return false;
    }
    return !isa<LayersOp, RecurseOp>(op);
  }
};
} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// eager-head: an exit lowering that lives outside of the project.
//
//   %e = linear %n               ->   %n  (what the head reads, for all rows)
//   %y = exit %e, %r score %s         %d = decide %s
//   %t = sample %y                    leave %d { linear %n ; sample ; yield }
//   yield %t                          %t = sample %r
//                                     yield %t
//
// Like the shipped `grouped`, but all of the exit head up to the op that makes
// the exit value runs for all rows before the decision. The last op and
// sampling stay with the leaving rows: the runtime reads logits from the launch
// that samples, so a launch that yields a token made earlier is no valid
// artifact.

#include "AdaptiveDialect/Transforms/ExitPlacement.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Config/llvm-config.h"

using namespace mlir;
using namespace adaptive;

namespace {

struct EagerHead : PassWrapper<EagerHead, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(EagerHead)

  StringRef getArgument() const final { return "eager-head"; }
  StringRef getDescription() const final {
    return "Lowers exits to leaving with the exit head's inputs computed for "
           "all rows";
  }

  void runOnOperation() override {
    for (auto model : getOperation().getOps<ModelOp>()) {
      // Shallow exits first: replacing one by its rest value brings the next
      // one before what the model yields.
      for (ExitPointOpInterface exit : exitsInOrder(model))
        if (failed(lower(model, exit)))
          return signalPassFailure();
      // What only served exits. Not before the last one is lowered: an exit
      // without users would go too.
      for (Operation &op :
           llvm::make_early_inc_range(llvm::reverse(model.getBody().front())))
        if (isOpTriviallyDead(&op))
          op.erase();
    }
  }

  static LogicalResult lower(ModelOp model, ExitPointOpInterface exit);
};

/// Ops behind `exit` that turn its result into what the model yields, in order.
SmallVector<Operation *> tailOf(ExitPointOpInterface exit) {
  llvm::SetVector<Operation *> users;
  ForwardSliceOptions options;
  options.filter = [](Operation *op) {
    return !op->hasTrait<OpTrait::IsTerminator>();
  };
  getForwardSlice(exit->getResult(0), &users, options);
  SmallVector<Operation *> tail;
  for (Operation &op : *exit->getBlock())
    if (users.contains(&op))
      tail.push_back(&op);
  return tail;
}

/// True when `value` needs no layers from `place` on, so that it may be
/// computed for rows that never run them.
bool knownBefore(Value value, Operation *place) {
  llvm::SetVector<Operation *> needed;
  BackwardSliceOptions options;
  options.inclusive = true;
  if (value.getDefiningOp() &&
      failed(getBackwardSlice(value, &needed, options)))
    return false;
  return llvm::all_of(needed, [&](Operation *op) {
    return !isa<LayersOp, RecurseOp>(op) || op->isBeforeInBlock(place);
  });
}

LogicalResult EagerHead::lower(ModelOp model, ExitPointOpInterface exit) {
  Operation *yield = model.getBody().front().getTerminator();
  if (exit->getBlock() != yield->getBlock())
    return exit->emitError(
        "eager-head lowers exits of a model's own block only");

  // The tail is cloned, so it must be free of effects.
  SmallVector<Operation *> tail = tailOf(exit);
  for (Operation *op : tail)
    if (!isPure(op) || isa<LayersOp, RecurseOp, ExitPointOpInterface>(op))
      return exit->emitError(
                 "between an exit and what the model yields there must be ops "
                 "without "
                 "effects, no layers and no other exit, but there is ")
             << op->getName();

  Operation *place = placeDecision(exit);
  Value value = exit.getExitValue();

  if (!knownBefore(value, place))
    return exit->emitError("what a leaving row yields needs layers that it "
                           "skips; exit at depth ")
           << exit.getExitDepth();
  SmallVector<Value> read;
  Operation *last = value.getDefiningOp();
  if (last && isPure(last) && last->getBlock() == exit->getBlock()) {
    last->walk(
        [&](Operation *op) { llvm::append_range(read, op->getOperands()); });
  } else {
    last = nullptr;
    read.push_back(value);
  }
  for (Operation *op : tail)
    for (Value operand : op->getOperands())
      if (!llvm::is_contained(tail, operand.getDefiningOp()) &&
          operand != exit->getResult(0))
        read.push_back(operand);
  for (Value result : yield->getOperands())
    if (!llvm::is_contained(tail, result.getDefiningOp()) &&
        result != exit->getResult(0))
      read.push_back(result);
  for (Value needed : read) {
    if (!knownBefore(needed, place))
      return exit->emitError("what a leaving row yields needs layers that it "
                             "skips; exit at depth ")
             << exit.getExitDepth();
    hoistBefore(needed, place);
  }
  OpBuilder builder(place);
  Value decision = createDecision(builder, exit);
  // Under exact, leaving rows owe the KV of the layers they skip and no state
  // crosses the cut; under propagate the state fills it.
  Value state =
      exit.getKVFill() == KVFill::Propagate ? exit.getExitState() : Value();
  auto leave = LeaveOp::create(builder, exit.getLoc(), decision, state,
                               exit.getExitIndex(), exit.getExitDepth(),
                               exit.getKVFill(), exit.getExitName());
  builder.createBlock(&leave.getBody());
  IRMapping early;
  if (last)
    builder.clone(*last, early);
  early.map(exit->getResult(0), early.lookupOrDefault(value));
  for (Operation *op : tail)
    builder.clone(*op, early);
  SmallVector<Value> results;
  for (Value result : yield->getOperands())
    results.push_back(early.lookupOrDefault(result));
  YieldOp::create(builder, exit.getLoc(), results);

  // Behind the leave there are only rows that go on.
  exit->getResult(0).replaceAllUsesWith(exit.getRestValue());
  exit->erase();
  return success();
}

} // namespace

extern "C" LLVM_ATTRIBUTE_WEAK PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "EagerHead", LLVM_VERSION_STRING,
          [] { PassRegistration<EagerHead>(); }};
}

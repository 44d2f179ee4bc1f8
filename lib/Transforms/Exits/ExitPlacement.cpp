// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the decision of an exit stands.

#include "AdaptiveDialect/Transforms/ExitPlacement.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace adaptive;

SmallVector<ExitPointOpInterface> adaptive::exitsInOrder(ModelOp model) {
  SmallVector<ExitPointOpInterface> exits;
  model.walk([&](ExitPointOpInterface exit) { exits.push_back(exit); });
  llvm::stable_sort(exits, [](ExitPointOpInterface a, ExitPointOpInterface b) {
    return a.getExitIndex() < b.getExitIndex();
  });
  return exits;
}

void adaptive::hoistBefore(Value value, Operation *place) {
  Operation *op = value.getDefiningOp();
  if (!op || op->getBlock() != place->getBlock() || op->isBeforeInBlock(place))
    return;
  op->walk([&](Operation *inner) {
    for (Value operand : inner->getOperands())
      hoistBefore(operand, place);
  });
  op->moveBefore(place);
}

Operation *adaptive::placeDecision(ExitPointOpInterface exit) {
  llvm::SetVector<Operation *> needed;
  BackwardSliceOptions options;
  options.inclusive = true;
  (void)getBackwardSlice(exit.getExitScore(), &needed, options);
  (void)getBackwardSlice(exit.getExitState(), &needed, options);
  Operation *place = exit;
  for (Operation &op : *exit->getBlock())
    if (isa<LayersOp, RecurseOp>(op) && !needed.contains(&op)) {
      place = op.isBeforeInBlock(exit) ? &op : place;
      break;
    }
  hoistBefore(exit.getExitScore(), place);
  hoistBefore(exit.getExitState(), place);
  return place;
}

Value adaptive::createDecision(OpBuilder &builder, ExitPointOpInterface exit) {
  auto mask =
      RankedTensorType::get({ShapedType::kDynamic}, builder.getI1Type());
  return DecideOp::create(builder, exit.getLoc(), mask, exit.getExitScore(),
                          exit.getExitIndex(), exit.getExitDepth());
}

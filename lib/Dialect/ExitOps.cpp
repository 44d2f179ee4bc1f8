// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers and interfaces of the exit ops.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "OpUtils.h"

#include "ee/abi.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;

LogicalResult CriteriaOp::verify() {
  if (getKind() != Criterion::MaxProb && getKind() != Criterion::Margin &&
      getKind() != Criterion::Entropy)
    return emitOpError("criterion of logits must be max_prob, margin or "
                       "entropy, but got ")
           << stringifyCriterion(getKind());
  if (rowWidth(getLogits().getType()) <= 0 ||
      !isRowScalar(getScore().getType()))
    return emitOpError("scores tensor<?xf32> from tensor<?xVxf32>");
  return success();
}

LogicalResult ProbeOp::verify() {
  int64_t width = rowWidth(getInput().getType());
  ArrayRef<int64_t> weight = staticShape(getWeight().getType());
  ArrayRef<int64_t> bias = staticShape(getBias().getType());
  bool weightFits =
      (weight.size() == 1 && weight[0] == width) ||
      (weight.size() == 2 && weight[0] == 1 && weight[1] == width);
  if (!weightFits || bias.size() != 1 || bias[0] != 1)
    return emitOpError("weight must be [")
           << width << "] and bias [1], but got " << getWeight().getType()
           << " and " << getBias().getType();
  if (!isRowScalar(getScore().getType()))
    return emitOpError("score must be tensor<?xf32>");
  return success();
}

LogicalResult CosineOp::verify() {
  if (rowWidth(getState().getType()) <= 0 ||
      getPrevious().getType() != getState().getType() ||
      !isRowScalar(getScore().getType()))
    return emitOpError("scores tensor<?xf32> from two tensors <?xDxf32>");
  return success();
}

/// An exit index and depth that fit the policy record.
static LogicalResult verifyExitPlace(Operation *op, int64_t index,
                                     int64_t depth) {
  if (index < 0 || index >= EE_MAX_EXITS)
    return op->emitOpError("index must lie in [0, ")
           << EE_MAX_EXITS << "), but got " << index;
  if (depth < 0)
    return op->emitOpError("depth must not be negative, but got ") << depth;
  return success();
}

int64_t ExitOp::getExitDepth() { return getDepth(); }
int64_t ExitOp::getExitIndex() { return getIndex(); }
StringRef ExitOp::getExitName() { return getName(); }
Criterion ExitOp::getExitCriterion() { return getCriterion(); }
llvm::APFloat ExitOp::getExitThreshold() { return getThreshold(); }
Value ExitOp::getExitScore() { return getScore(); }
Value ExitOp::getExitState() { return getState(); }
KVFill ExitOp::getKVFill() { return getFill(); }

LogicalResult ExitOp::verify() {
  if (!isRowScalar(getScore().getType()))
    return emitOpError("score must be tensor<?xf32>");
  if (rowWidth(getState().getType()) <= 0)
    return emitOpError("state must be rows tensor<?xDxf32>");
  if (std::isnan(getThreshold().convertToDouble()))
    return emitOpError("threshold must be a number");
  return verifyExitPlace(*this, getIndex(), getDepth());
}

LogicalResult DecideOp::verify() {
  if (!isRowScalar(getScore().getType()) ||
      !isRowScalar(getDecision().getType()))
    return emitOpError("decides tensor<?xi1> from tensor<?xf32>");
  return verifyExitPlace(*this, getIndex(), getDepth());
}

LogicalResult SelectOp::verify() {
  if (!isRowScalar(getMask().getType()))
    return emitOpError("mask must be tensor<?xi1>");
  return success();
}

LogicalResult OrOp::verify() {
  if (!isRowScalar(getLhs().getType()))
    return emitOpError("masks must be tensor<?xi1>");
  return success();
}

LogicalResult MarkDepthOp::verify() {
  if (!isRowScalar(getMask().getType()))
    return emitOpError("mask must be tensor<?xi1>");
  if (int64_t(getDepth()) < 0)
    return emitOpError("depth must not be negative, but got ")
           << int64_t(getDepth());
  return success();
}

LogicalResult LeaveOp::verify() {
  if (!isRowScalar(getDecision().getType()))
    return emitOpError("decision must be tensor<?xi1>");
  if ((getFill() == KVFill::Propagate) != bool(getState()))
    return emitOpError("state must be given exactly under propagate");
  return verifyExitPlace(*this, getIndex(), getDepth());
}

LogicalResult LeaveOp::verifyRegions() {
  auto yield = dyn_cast<YieldOp>(getBody().front().getTerminator());
  auto model = (*this)->getParentOfType<ModelOp>();
  if (!yield || !model)
    return emitOpError("must stand in a model and end in a yield");
  auto outer = dyn_cast<YieldOp>(model.getBody().front().getTerminator());
  if (!outer || outer.getValues().getTypes() != yield.getValues().getTypes())
    return emitOpError("region must yield what the model yields");
  return success();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the kernel ops.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "OpUtils.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace adaptive;

LogicalResult EmbedOp::verify() {
  ArrayRef<int64_t> table = staticShape(getTable().getType());
  if (!isRowScalar(getIds().getType()))
    return emitOpError("ids must be tensor<?xi32>");
  if (table.size() != 2 || rowWidth(getResult().getType()) != table[1])
    return emitOpError("result must have the width of the table ")
           << getTable().getType();
  return success();
}

LogicalResult NormOp::verify() {
  ArrayRef<int64_t> scale = staticShape(getScale().getType());
  int64_t width = rowWidth(getInput().getType());
  if (scale.size() != 1 || width <= 0 || scale[0] <= 0 || width % scale[0] != 0)
    return emitOpError("row width must be a multiple of the scale's, but got ")
           << getInput().getType() << " and " << getScale().getType();
  if (getBias() && getKind() != NormKind::Layer)
    return emitOpError("only a layer norm takes a bias");
  if (getBias() && getBias().getType() != getScale().getType())
    return emitOpError("bias must have the type of the scale, ")
           << getScale().getType();
  if (!(getEpsilon().convertToDouble() >= 0))
    return emitOpError("epsilon must not be negative, but got ")
           << getEpsilon().convertToDouble();
  return success();
}

/// An elementwise region: scalars in, one scalar out, arith and math inside.
static LogicalResult verifyElementwise(Operation *op, Region &region,
                                       size_t arguments) {
  Block &body = region.front();
  if (body.getNumArguments() != arguments ||
      llvm::any_of(body.getArgumentTypes(),
                   [](Type type) { return !type.isF32(); }))
    return op->emitOpError("region must take ")
           << arguments << " values of f32";
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (!yield || yield.getValues().size() != 1 ||
      !yield.getValues()[0].getType().isF32())
    return op->emitOpError("region must yield one f32");
  for (Operation &inner : body.without_terminator())
    if (!isa_and_nonnull<arith::ArithDialect, math::MathDialect>(
            inner.getDialect()))
      return op->emitOpError(
                 "region may hold arith and math ops only, but has ")
             << inner.getName();
  return success();
}

/// A row operand of an elementwise region: rows of that width, or one row of
/// it.
static bool isElementwiseOperand(Type type, int64_t width) {
  ArrayRef<int64_t> fixed = staticShape(type);
  return rowWidth(type) == width || (fixed.size() == 1 && fixed[0] == width);
}

LogicalResult LinearOp::verify() {
  int64_t width = rowWidth(getInput().getType());
  if (width <= 0)
    return emitOpError("input must be rows tensor<?xKxf32>, but got ")
           << getInput().getType();
  if (getWeights().empty())
    return emitOpError("needs at least one weight");
  for (Value weight : getWeights()) {
    ArrayRef<int64_t> shape = staticShape(weight.getType());
    if (shape.size() != 2 || shape[1] != width)
      return emitOpError("weight must be [N, ")
             << width << "], but got " << weight.getType();
  }
  if (getEpilogue().empty()) {
    if (!getExtras().empty())
      return emitOpError("extras need an epilogue region");
    if (getOutputs().size() != getWeights().size())
      return emitOpError("without an epilogue there is one result per weight");
    for (auto [output, weight] : llvm::zip(getOutputs(), getWeights()))
      if (rowWidth(output.getType()) != staticShape(weight.getType())[0])
        return emitOpError("result must have the ")
               << staticShape(weight.getType())[0] << " outputs of its weight";
    return success();
  }
  int64_t outputs = staticShape(getWeights()[0].getType())[0];
  if (getOutputs().size() != 1 ||
      rowWidth(getOutputs()[0].getType()) != outputs)
    return emitOpError("with an epilogue there is one result of width ")
           << outputs;
  for (Value weight : getWeights())
    if (weight.getType() != getWeights()[0].getType())
      return emitOpError(
          "weights that an epilogue combines must have one type");
  for (Value extra : getExtras())
    if (!isElementwiseOperand(extra.getType(), outputs))
      return emitOpError("extra must have width ")
             << outputs << ", but got " << extra.getType();
  return success();
}

LogicalResult LinearOp::verifyRegions() {
  if (getEpilogue().empty())
    return success();
  return verifyElementwise(*this, getEpilogue(),
                           getWeights().size() + getExtras().size());
}

LogicalResult MapOp::verify() {
  int64_t width = rowWidth(getResult().getType());
  if (width <= 0)
    return emitOpError("result must be rows tensor<?xDxf32>");
  for (Value input : getInputs())
    if (!isElementwiseOperand(input.getType(), width))
      return emitOpError("operand must have width ")
             << width << ", but got " << input.getType();
  if (llvm::none_of(getInputs(),
                    [](Value input) { return rowWidth(input.getType()) > 0; }))
    return emitOpError("one operand at least must be rows");
  return success();
}

LogicalResult MapOp::verifyRegions() {
  return verifyElementwise(*this, getBody(), getInputs().size());
}

LogicalResult RopeOp::verify() {
  ArrayRef<int64_t> table = staticShape(getCos().getType());
  int64_t width = rowWidth(getInput().getType()), headDim = getHeadDim();
  if (table.size() != 2 || getCos().getType() != getSin().getType())
    return emitOpError("tables must be of one type [positions, R/2]");
  if (headDim <= 0 || width <= 0 || width % headDim != 0)
    return emitOpError("head_dim must divide the row width ")
           << width << ", but got " << headDim;
  if (table[1] > headDim / 2)
    return emitOpError("tables rotate ")
           << 2 * table[1] << " elements of a head of " << headDim;
  return success();
}

LogicalResult SampleOp::verify() {
  if (rowWidth(getLogits().getType()) <= 0 ||
      !isRowScalar(getResult().getType()))
    return emitOpError("draws tensor<?xi32> from tensor<?xVxf32>");
  return success();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the structure ops; generated op definitions live here too.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "OpUtils.h"

#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;
using namespace adaptive;

/// Two operands that share one type: parsed and printed once.
static ParseResult parseSameType(OpAsmParser &parser, Type &first,
                                 Type &second) {
  if (parser.parseType(first))
    return failure();
  second = first;
  return success();
}
static void printSameType(OpAsmPrinter &printer, Operation *, Type first,
                          Type) {
  printer.printType(first);
}

/// An enum attribute as its bare keyword. The declarative form of an EnumAttr
/// would print a second blank before it.
template <typename EnumAttrT>
static ParseResult parseKeyword(OpAsmParser &parser, EnumAttrT &attribute) {
  auto value = FieldParser<decltype(attribute.getValue())>::parse(parser);
  if (failed(value))
    return failure();
  attribute = EnumAttrT::get(parser.getContext(), *value);
  return success();
}
template <typename EnumAttrT>
static void printKeyword(OpAsmPrinter &printer, Operation *,
                         EnumAttrT attribute) {
  printer.getStream() << attribute.getValue();
}

#define GET_OP_CLASSES
#include "AdaptiveDialect/IR/AdaptiveOps.cpp.inc"

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (!type.hasStaticShape() || type.getRank() == 0)
    return emitOpError(
               "type must be a static tensor of rank 1 or more, but got ")
           << type;
  if (getTransposed() && type.getRank() != 2)
    return emitOpError("transposed needs a matrix, but got ") << type;
  if (getValue() && getValue()->getShapedType() != type)
    return emitOpError("value must have the type ")
           << type << ", but got " << getValue()->getShapedType();
  if (getValue() &&
      (!getSource().empty() || !getTensor().empty() || getTransposed()))
    return emitOpError(
        "a value stands alone: source and tensor must be empty, and it is not "
        "transposed");
  if (getFormat().value_or(WeightFormat::Plain) != WeightFormat::Plain &&
      type.getRank() != 2)
    return emitOpError("format ") << stringifyWeightFormat(*getFormat())
                                  << " needs a matrix, but got " << type;
  return success();
}

LogicalResult TableOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (!type.hasStaticShape() || type.getRank() != 2 ||
      type.getDimSize(1) != int64_t(getFrequencies().size()))
    return emitOpError("type must be [positions, ")
           << getFrequencies().size() << "], but got " << type;
  if (getFunction() != "cos" && getFunction() != "sin")
    return emitOpError("function must be \"cos\" or \"sin\", but got \"")
           << getFunction() << '"';
  return success();
}

/// Type of the weight or table `name` seen from `from`; null when there is
/// none.
static Type weightType(Operation *from, SymbolTableCollection &symbols,
                       FlatSymbolRefAttr name) {
  Operation *target =
      symbols.lookupNearestSymbolFrom(from->getParentOfType<ModuleOp>(), name);
  auto weight = dyn_cast_or_null<WeightOpInterface>(target);
  return weight ? weight.getWeightType() : Type();
}

LogicalResult UseOp::verifySymbolUses(SymbolTableCollection &symbols) {
  Type type = weightType(*this, symbols, getWeightAttr());
  if (!type)
    return emitOpError("must name a weight or a table, but got ")
           << getWeightAttr();
  if (type != getResult().getType())
    return emitOpError("type must be that of ")
           << getWeightAttr() << ", " << type << ", but got "
           << getResult().getType();
  return success();
}

LogicalResult ModelOp::verify() {
  int64_t positions = getMaxPosition();
  if (positions <= 0 || positions > std::numeric_limits<int32_t>::max())
    return emitOpError("max_position must lie in [1, 2^31), but got ")
           << positions;
  return success();
}

LogicalResult ModelOp::verifyRegions() {
  Block &body = getBody().front();
  if (body.getNumArguments() != 1 ||
      !isRowScalar(body.getArgument(0).getType()) ||
      !getElementTypeOrSelf(body.getArgument(0).getType()).isInteger(32))
    return emitOpError("body must take one tensor<?xi32>");
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (!yield || yield.getValues().size() != 1)
    return emitOpError("body must end in a yield of one value");
  Type result = yield.getValues()[0].getType();
  if (rowWidth(result) <= 0 &&
      !(isRowScalar(result) && getElementTypeOrSelf(result).isInteger(32)))
    return emitOpError(
               "body must yield rows of logits or of token ids, but yields ")
           << result;
  return success();
}

LogicalResult BlockOp::verifyRegions() {
  Block &body = getBody().front();
  if (body.getNumArguments() == 0 ||
      rowWidth(body.getArgument(0).getType()) <= 0)
    return emitOpError(
        "first argument must be the residual stream tensor<?xDxf32>");
  for (BlockArgument argument : body.getArguments().drop_front())
    if (staticShape(argument.getType()).empty())
      return emitOpError("weight arguments must be static tensors, but got ")
             << argument.getType();
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (!yield || yield.getValues().size() != 1 ||
      yield.getValues()[0].getType() != body.getArgument(0).getType())
    return emitOpError("body must yield the residual stream ")
           << body.getArgument(0).getType();
  if (llvm::range_size(body.getOps<KVAppendOp>()) > 1)
    return emitOpError("a layer appends keys and values at most once");
  return success();
}

/// C1 to C3 of `layers` and `recurse`.
template <typename OpT>
static LogicalResult verifyBlockCall(OpT op, SymbolTableCollection &symbols) {
  auto block = dyn_cast_or_null<BlockOp>(symbols.lookupNearestSymbolFrom(
      op->template getParentOfType<ModuleOp>(), op.getCalleeAttr()));
  if (!block)
    return op.emitOpError("callee must name a block, but got ")
           << op.getCalleeAttr();
  Block &body = block.getBody().front();
  Type stream = body.getArgument(0).getType();
  if (op.getInput().getType() != stream || op.getResult().getType() != stream)
    return op.emitOpError("operand and result must be the residual stream ")
           << stream;
  int64_t first = op.getFirst(), count = op.getNumLayers();
  if (first < 0)
    return op.emitOpError("first layer must not be negative, but got ")
           << first;
  if (count > std::numeric_limits<int32_t>::max() - first)
    return op.emitOpError("unrolled layers must fit in 32 bits");
  for (auto [layer, entry] : llvm::enumerate(op.getWeights())) {
    auto weights = dyn_cast<ArrayAttr>(entry);
    if (!weights || weights.size() != body.getNumArguments() - 1)
      return op.emitOpError("layer ")
             << layer << " must list " << body.getNumArguments() - 1
             << " weights";
    for (auto [index, name] : llvm::enumerate(weights)) {
      auto symbol = dyn_cast<FlatSymbolRefAttr>(name);
      Type type = symbol ? weightType(op, symbols, symbol) : Type();
      if (type != body.getArgument(index + 1).getType())
        return op.emitOpError("weight ")
               << index << " of layer " << layer << " must have type "
               << body.getArgument(index + 1).getType();
    }
  }
  return success();
}

LogicalResult LayersOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (bool(getKeep()) != bool(getFrozen()))
    return emitOpError("keep mask and frozen state come together");
  if (getFrozen() && getFrozen().getType() != getInput().getType())
    return emitOpError("frozen state must be the residual stream ")
           << getInput().getType();
  if (getKeep() && !isRowScalar(getKeep().getType()))
    return emitOpError("keep mask must be tensor<?xi1>, but got ")
           << getKeep().getType();
  return verifyBlockCall(*this, symbols);
}

LogicalResult RecurseOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyBlockCall(*this, symbols);
}

LogicalResult RecurseOp::verify() {
  int64_t times = getTimes();
  if (times < 2 || times > std::numeric_limits<int32_t>::max())
    return emitOpError("must run its layers at least 2 times, but got ")
           << times;
  return success();
}

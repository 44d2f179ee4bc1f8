// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Shape and constant analysis of a carrier function: the walk and the
// elementwise operators. Rules of other operators are in ShapeRules.cpp.

#include "SymbolicShapes.h"

#include "ShapeRules.h"

#include "AdaptiveDialect/IR/Adaptive.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

const TensorInfo &SymbolicShapes::of(Value value) const {
  static const TensorInfo unknown;
  auto found = infos.find(value);
  return found == infos.end() ? unknown : found->second;
}

bool SymbolicShapes::equal(const Shape &a, const Shape &b) const {
  return a.size() == b.size() && llvm::all_of(llvm::zip(a, b), [&](auto pair) {
           return symbols.equal(std::get<0>(pair), std::get<1>(pair));
         });
}

std::optional<SmallVector<int64_t>>
SymbolicShapes::constantInts(Value value) const {
  const TensorInfo &info = of(value);
  if (!info.elements || info.shape.size() > 1)
    return std::nullopt;
  SmallVector<int64_t> result;
  for (const Scalar &element : *info.elements) {
    auto number = element.isFloat
                      ? std::nullopt
                      : symbols.normalize(element.integer).constant();
    if (!number)
      return std::nullopt;
    result.push_back(*number);
  }
  return result;
}

std::optional<Scalar> SymbolicShapes::scalar(Value value) const {
  const TensorInfo &info = of(value);
  if (!info.elements || info.elements->size() != 1)
    return std::nullopt;
  return info.elements->front();
}

std::optional<SmallVector<int64_t>>
SymbolicShapes::intsOf(NodeOp node, unsigned index, StringRef name) const {
  if (hasInput(node, index))
    return constantInts(node.getInputs()[index]);
  return findInts(node, name);
}

TensorInfo SymbolicShapes::fromType(Type type) {
  TensorInfo info;
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return info;
  info.ranked = true;
  for (int64_t size : tensor.getShape())
    info.shape.push_back(ShapedType::isDynamic(size) ? symbols.fresh("d")
                                                     : SymExpr(size));
  return info;
}

/// Records `info`, refined by what the type of `value` says.
void SymbolicShapes::finish(Value value, TensorInfo info) {
  if (!info.ranked) {
    infos[value] = fromType(value.getType());
    return;
  }
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (type && type.getRank() == int64_t(info.shape.size()))
    for (auto [size, known] : llvm::zip(info.shape, type.getShape()))
      if (!ShapedType::isDynamic(known) && !size.isConstant())
        size = SymExpr(known);
  for (SymExpr &size : info.shape) {
    size = symbols.normalize(size);
    if (size.isTooComplex())
      size = symbols.fresh("size");
  }
  // A file may reshape elements into a shape that does not hold them.
  if (info.elements && numElements(info.shape) != info.elements->size())
    info.elements.reset();
  infos[value] = std::move(info);
}

void SymbolicShapes::broadcastInto(Shape &result, const Shape &other) {
  if (other.size() > result.size())
    result.insert(result.begin(), other.size() - result.size(), SymExpr(1));
  for (size_t i = 0; i < other.size(); ++i) {
    SymExpr &mine = result[result.size() - 1 - i];
    const SymExpr &theirs = other[other.size() - 1 - i];
    if (theirs.isConstant(1) || mine == theirs)
      continue;
    if (mine.isConstant(1) || theirs.isConstant())
      mine = theirs;
    else if (!mine.isConstant())
      symbols.unify(mine, theirs);
  }
}

TensorInfo SymbolicShapes::elementwise(NodeOp node) {
  TensorInfo result;
  result.ranked = true;
  bool allKnown = true;
  // CastLike reads only the type of its second operand.
  size_t count = node.getInputs().size();
  if (node.is("CastLike"))
    count = std::min<size_t>(count, 1);
  auto inputs = node.getInputs().take_front(count);
  for (Value input : inputs) {
    const TensorInfo &info = of(input);
    if (!info.ranked)
      return {};
    allKnown &= info.elements.has_value();
    broadcastInto(result.shape, info.shape);
  }
  if (!allKnown || inputs.empty())
    return result;
  auto sizes = constantShape(result.shape);
  if (!sizes)
    return result;
  auto total = numElements(result.shape);
  if (!total || *total > kMaxElements)
    return result;
  Type type = getElementTypeOrSelf(node.getResult(0).getType());
  std::vector<Scalar> elements;
  for (size_t at = 0; at < *total; ++at) {
    SmallVector<Scalar> operands;
    for (Value input : inputs) {
      const TensorInfo &info = of(input);
      auto extents = constantShape(info.shape);
      if (!extents || !broadcastsTo(*extents, *sizes))
        return result;
      operands.push_back(
          (*info.elements)[broadcastIndex(at, *sizes, *extents)]);
    }
    auto value = evaluate(node.getOpType(), operands,
                          type.isIntOrFloat() ? type : Type());
    if (!value)
      return result;
    elements.push_back(std::move(*value));
  }
  result.elements = std::move(elements);
  return result;
}

void SymbolicShapes::visit(NodeOp node) {
  SmallVector<TensorInfo> results(node.getNumResults());
  if (node.getDomainName().empty() && node.getNumResults() > 0 &&
      isElementwise(node.getOpType()))
    results[0] = elementwise(node);
  else
    ShapeRules{*this, node}.apply(results);
  for (auto [value, info] : llvm::zip(node.getResults(), results))
    finish(value, std::move(info));
}

SymbolicShapes::SymbolicShapes(func::FuncOp function) {
  for (BlockArgument argument : function.getArguments()) {
    TensorInfo info = fromType(argument.getType());
    auto names = function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(),
                                                      "onnx.dims");
    if (names && names.size() == info.shape.size())
      for (auto [size, name] : llvm::zip(info.shape, names)) {
        auto text = dyn_cast<StringAttr>(name);
        if (text && !text.getValue().empty() && !size.isConstant())
          size = symbols.parse(text.getValue());
      }
    // Tokens and masks are never empty; a cache may be.
    for (const SymExpr &size : info.shape)
      if (auto symbol = size.asSymbol();
          symbol && getElementTypeOrSelf(argument.getType()).isInteger())
        symbols.setPositive(*symbol);
    infos[argument] = std::move(info);
  }
  for (Operation &op : function.getBody().front()) {
    if (auto constant = dyn_cast<onnx_carrier::ConstantOp>(op)) {
      TensorInfo info = fromType(constant.getType());
      info.elements = readElements(constant.getValue(), kMaxElements);
      infos[constant] = std::move(info);
    } else if (auto node = dyn_cast<NodeOp>(op)) {
      visit(node);
    } else {
      for (Value result : op.getResults())
        infos[result] = fromType(result.getType());
    }
  }
}

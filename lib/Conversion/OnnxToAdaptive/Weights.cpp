// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights of the raised model: matrices are [outputs, inputs], and what was
// stored the other way round is named again as `transposed`.

#include "Raiser.h"

#include "Twins.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

std::optional<WeightRef> Raiser::weight(Value value) const {
  if (auto *known = std::get_if<WeightRef>(&get(value)))
    if (known->op || known->value)
      return *known;
  return std::nullopt;
}

Value Raiser::useSymbol(StringRef name, Type type) {
  Value &use = uses[name];
  if (!use) {
    OpBuilder atStart = OpBuilder::atBlockBegin(&model.getBody().front());
    use = UseOp::create(atStart, loc, type, name);
  }
  return use;
}

/// The same elements with rows and columns exchanged. Constants are small.
static DenseElementsAttr transposeConstant(DenseElementsAttr value) {
  ArrayRef<int64_t> shape = value.getType().getShape();
  auto type =
      RankedTensorType::get({shape[1], shape[0]}, value.getElementType());
  if (value.isSplat())
    return value.reshape(type);
  SmallVector<Attribute> all = llvm::to_vector(value.getValues<Attribute>()),
                         elements;
  for (int64_t column = 0; column < shape[1]; ++column)
    for (int64_t row = 0; row < shape[0]; ++row)
      elements.push_back(all[row * shape[1] + column]);
  return DenseElementsAttr::get(type, elements);
}

/// Makes `op` a symbol of the module, before the model.
StringRef Raiser::addSymbol(Operation *op) {
  symbols.insert(op, Block::iterator(model));
  created.push_back(op);
  return SymbolTable::getSymbolName(op).getValue();
}

Value Raiser::useConstant(DenseElementsAttr value, StringAttr name) {
  std::string &symbol = madeWeights[value];
  if (symbol.empty()) {
    OpBuilder detached(module.getContext());
    symbol = addSymbol(
        WeightOp::create(detached, loc, name ? name.getValue() : "constant",
                         cast<RankedTensorType>(value.getType()), "", "", false,
                         StringAttr(), cast<ElementsAttr>(Attribute(value))));
  }
  return useSymbol(symbol, value.getType());
}

Value Raiser::useMatrix(const WeightRef &weight, int64_t rows,
                        int64_t columns) {
  SmallVector<int64_t> wanted = {rows, columns};
  if (weight.transposed)
    std::swap(wanted[0], wanted[1]);
  if (weight.storedShape() != ArrayRef(wanted))
    return {};
  if (weight.value)
    return useConstant(weight.transposed ? transposeConstant(weight.value)
                                         : weight.value,
                       weight.name);
  WeightOp op = weight.op;
  if (!weight.transposed)
    return useSymbol(op.getSymName(), op.getType());
  bool isNew;
  WeightOp twin = transposedTwin(op, symbols, isNew);
  if (isNew)
    created.push_back(twin);
  return twin ? useSymbol(twin.getSymName(), twin.getType()) : Value();
}

Value Raiser::useVector(const WeightRef &weight, int64_t size) {
  ArrayRef<int64_t> stored = weight.storedShape();
  int64_t elements = 1;
  for (int64_t extent : stored)
    elements *= extent;
  if (elements != size ||
      llvm::count_if(stored, [](int64_t extent) { return extent != 1; }) > 1)
    return {};
  if (weight.value)
    return useConstant(DenseElementsAttr(weight.value)
                           .reshape(RankedTensorType::get(
                               {size}, weight.value.getElementType())),
                       weight.name);
  if (stored.size() != 1)
    return {};
  WeightOp op = weight.op;
  return useSymbol(op.getSymName(), op.getType());
}

Value Raiser::useTable(StringRef function, ArrayRef<double> frequencies) {
  ArrayAttr list = builder.getF64ArrayAttr(frequencies);
  auto type = RankedTensorType::get({maxPosition, int64_t(frequencies.size())},
                                    builder.getF32Type());
  Attribute key = builder.getArrayAttr({builder.getStringAttr(function), list});
  std::string &symbol = madeWeights[key];
  if (symbol.empty()) {
    OpBuilder detached(module.getContext());
    symbol = addSymbol(TableOp::create(
        detached, loc, ("rope_" + function).str(), function, list, type));
  }
  return useSymbol(symbol, type);
}

std::optional<SmallVector<double>> Raiser::vectorElements(Value value) const {
  const TensorInfo &info = shapes.of(value);
  std::vector<Scalar> elements;
  if (info.elements)
    elements = *info.elements;
  else if (auto known = weight(value);
           known && known->value) // expanded along unit dimensions
    elements =
        readElements(cast<ElementsAttr>(Attribute(known->value)), 1 << 16)
            .value_or(std::vector<Scalar>());
  if (elements.empty())
    return std::nullopt;
  SmallVector<double> result;
  for (const Scalar &element : elements) {
    auto number = element.number();
    if (!number)
      return std::nullopt;
    result.push_back(*number);
  }
  return result;
}

void Raiser::eraseUnusedWeights() {
  llvm::SmallPtrSet<Attribute, 32> used;
  module.walk([&](UseOp use) { used.insert(use.getWeightAttr().getAttr()); });
  for (Operation &op : llvm::make_early_inc_range(*module.getBody()))
    if (isa<WeightOpInterface>(op) &&
        !used.contains(SymbolTable::getSymbolName(&op)))
      op.erase();
}

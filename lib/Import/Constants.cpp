// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Constants and weights of the carrier module.

#include "Constants.h"

#include "ElementTypes.h"
#include "TensorIndex.h"

#include "AdaptiveDialect/IR/Onnx.h"

#include <cstring>

using namespace mlir;
using namespace adaptive;

static constexpr uint64_t kMaxConstantElements = 4096;
static constexpr uint64_t kMaxIndexBytes = uint64_t(1) << 20;

TensorRewrite adaptive::placeTensor(const TensorEntry &entry, uint64_t bytes) {
  TensorRewrite rewrite;
  if (entry.sparsePart || entry.dataType == OnnxString)
    return rewrite;
  auto count = elementCount(entry.dims);
  bool isComplex =
      entry.dataType == OnnxComplex64 || entry.dataType == OnnxComplex128;
  bool large = count && *count > kMaxConstantElements &&
               !(isIndexLikeType(entry.dataType) && bytes <= kMaxIndexBytes);
  // A function body has no outer graph that could hold a stand-in.
  if (large && !isComplex && entry.isValue && !entry.inFunction)
    rewrite.kind = TensorRewrite::Detach;
  else if (entry.external)
    rewrite.kind = TensorRewrite::Inline;
  return rewrite;
}

/// One byte per element for types that raw data packs.
static SmallVector<char> unpack(StringRef raw, unsigned bits, uint64_t count) {
  SmallVector<char> bytes(count);
  for (uint64_t i = 0; i < count; ++i) {
    unsigned value = 0;
    for (unsigned bit = 0; bit < bits; ++bit) {
      uint64_t at = i * bits + bit;
      value |= (static_cast<uint8_t>(raw[at / 8]) >> (at % 8) & 1u) << bit;
    }
    bytes[i] = static_cast<char>(value);
  }
  return bytes;
}

DenseElementsAttr adaptive::denseAttribute(const onnx_border::Tensor &tensor,
                                           MLIRContext *context) {
  Type elementType = onnxElementType(tensor.elementType, context);
  auto count = elementCount(tensor.dims);
  auto bytes = rawBytes(tensor.elementType, tensor.dims);
  if (!elementType || !count || !bytes || *bytes != tensor.raw.size())
    return {};
  auto type = RankedTensorType::get(tensor.dims, elementType);
  if (tensor.elementType == OnnxBool) {
    SmallVector<bool> values(tensor.raw.size());
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = tensor.raw[i] != 0;
    return DenseElementsAttr::get(type, ArrayRef<bool>(values));
  }
  if (*count == 0)
    return DenseElementsAttr::get(type, ArrayRef<Attribute>());
  unsigned bits = onnxTypeBits(tensor.elementType);
  if (bits < 8)
    return DenseElementsAttr::getFromRawBuffer(
        type, unpack(tensor.raw, bits, *count));
  return DenseElementsAttr::getFromRawBuffer(
      type, ArrayRef(tensor.raw.data(), tensor.raw.size()));
}

Constants::Constants(ModuleOp module, WeightStore &store, std::string source)
    : module(module), store(store), source(std::move(source)), symbols(module),
      builder(module.getContext()) {}

void Constants::enterFunction(Block &block) {
  entry = &block;
  last = nullptr;
  constants.clear();
  uses.clear();
  absent = {};
}

/// Appends to the constants at the start of the function.
template <typename Op, typename... Args> Op Constants::append(Args &&...args) {
  if (last)
    builder.setInsertionPointAfter(last);
  else
    builder.setInsertionPointToStart(entry);
  auto op = Op::create(builder, std::forward<Args>(args)...);
  last = op;
  return op;
}

Value Constants::none() {
  if (!absent)
    absent = append<onnx_carrier::NoneOp>(builder.getUnknownLoc(),
                                          builder.getNoneType());
  return absent;
}

Value Constants::constant(DenseElementsAttr value, Location loc) {
  Value &known = constants[value];
  if (!known)
    known = append<onnx_carrier::ConstantOp>(
        loc, value.getType(), cast<ElementsAttr>(Attribute(value)));
  return known;
}

ee::Expected<size_t> Constants::weight(const onnx_border::Tensor &tensor,
                                       Location loc) {
  auto view = store.find(source, tensor.detachedKey);
  if (!view)
    return view.takeFailure();
  auto type = RankedTensorType::get(
      tensor.dims, onnxElementType(tensor.elementType, module.getContext()));
  std::string hash = WeightStore::hash(view->data);
  auto &candidates = byContent[hash];
  for (size_t index : candidates) {
    Shared &known = weights[index];
    // The hash only finds candidates: equal means equal bytes.
    if (known.op.getType() != type || known.data.size() != view->data.size() ||
        std::memcmp(known.data.data(), view->data.data(), view->data.size()) !=
            0)
      continue;
    known.names.push_back(tensor.name);
    return index;
  }
  OpBuilder atModule = OpBuilder::atBlockBegin(module.getBody());
  if (!weights.empty())
    atModule.setInsertionPointAfter(weights.back().op);
  std::string symbol = tensor.name.empty() ? "weight" : tensor.name;
  auto op =
      WeightOp::create(atModule, loc, symbol, type, source, tensor.detachedKey,
                       /*transposed=*/false, atModule.getStringAttr(hash));
  symbols.insert(op, op->getIterator());
  candidates.push_back(weights.size());
  weights.push_back({op, view->data, {tensor.name}});
  return weights.size() - 1;
}

ee::Expected<Value> Constants::get(const onnx_border::Tensor &tensor,
                                   Location loc) {
  if (tensor.detachedKey.empty()) {
    DenseElementsAttr value = denseAttribute(tensor, module.getContext());
    if (!value)
      return Value();
    Value result = constant(value, loc);
    // Whoever wants the tensor as a weight after all can name it.
    auto view = store.find(source, tensor.name);
    Operation *op = result.getDefiningOp();
    if (view && !op->hasAttr("onnx.tensor") &&
        isa<FloatType>(value.getElementType()) &&
        !value.getType().getShape().empty() &&
        view->data == ArrayRef(tensor.raw.data(), tensor.raw.size()))
      op->setAttr("onnx.tensor", builder.getStringAttr(tensor.name));
    return result;
  }
  auto index = weight(tensor, loc);
  if (!index)
    return index.takeFailure();
  Value &use = uses[*index];
  if (!use) {
    WeightOp op = weights[*index].op;
    use = append<UseOp>(loc, op.getType(), op.getSymName());
  }
  return use;
}

void Constants::finish() {
  for (Shared &weight : weights)
    if (weight.names.size() > 1) {
      SmallVector<StringRef> names(weight.names.begin(), weight.names.end());
      weight.op->setAttr("onnx.names", builder.getStrArrayAttr(names));
    }
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights in their own dtype. safetensors allows no holes, so what aligns a
// tensor to 64 bytes is a tensor of its own, named ee.padding.<number>.

#include "PlainWeights.h"

#include "AdaptiveDialect/Conversion/CPU/Function.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace adaptive;

static RankedTensorType typeOf(Operation *op) {
  return cast<WeightOpInterface>(op).getWeightType();
}

static uint64_t widthOf(Type element) {
  return llvm::divideCeil(element.getIntOrFloatBitWidth(), 8);
}

/// Name of a dtype in safetensors: F32, BOOL, U8, ...
static std::string storedName(Type element) {
  return StringRef(cpu::dtypeName(element)).upper();
}

/// Bytes of a small weight given in the IR, a bool in a byte.
static ee::Expected<std::string> bytesOf(ElementsAttr value, StringRef name) {
  auto dense = dyn_cast<DenseElementsAttr>(value);
  if (!dense)
    return ee::Failure{"weight " + ee::inQuotes(name.str()) +
                       " has a value that is not dense"};
  uint64_t width = widthOf(dense.getElementType());
  std::string bytes;
  auto append = [&](const APInt &bits) {
    uint64_t word = bits.getZExtValue();
    bytes.append(reinterpret_cast<const char *>(&word), width);
  };
  if (isa<FloatType>(dense.getElementType()))
    for (const APFloat &element : dense.getValues<APFloat>())
      append(element.bitcastToAPInt());
  else
    for (const APInt &element : dense.getValues<APInt>())
      append(element);
  return bytes;
}

/// The stored matrix turned around: `type` is what it becomes.
static std::string transposed(StringRef data, RankedTensorType type) {
  uint64_t width = widthOf(type.getElementType());
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  std::string result(data.size(), '\0');
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      std::memcpy(&result[(i * columns + j) * width],
                  data.data() + (j * rows + i) * width, width);
  return result;
}

/// Bytes of a weight: a view of its file, or a copy in `buffer`.
static ee::Expected<StringRef> dataOf(Operation *op, WeightStore &store,
                                      std::string &buffer) {
  StringRef name = SymbolTable::getSymbolName(op).getValue();
  if (auto table = dyn_cast<TableOp>(op)) {
    std::vector<float> values = computeTable(table);
    buffer.assign(reinterpret_cast<const char *>(values.data()),
                  values.size() * sizeof(float));
    return StringRef(buffer);
  }
  auto weight = cast<WeightOp>(op);
  if (auto value = weight.getValue()) {
    auto bytes = bytesOf(*value, name);
    if (!bytes)
      return bytes.takeFailure();
    buffer = std::move(*bytes);
    return StringRef(buffer);
  }
  auto view = store.get(weight);
  if (!view)
    return view.takeFailure();
  StringRef data(view->data.data(), view->data.size());
  if (weight.getTransposed()) {
    buffer = transposed(data, typeOf(op));
    data = buffer;
  }
  if (typeOf(op).getElementType().isInteger(1)) {
    // Code relies on 0 and 1.
    buffer = data.str();
    for (char &byte : buffer)
      byte = byte != 0;
    data = buffer;
  }
  return data;
}

ee::Expected<WrittenFile> adaptive::writePlainWeights(
    ModuleOp module, ArrayRef<std::string> names, WeightStore &store,
    const ArtifactContents &contents, OutputFolder &folder, StringRef fileName,
    llvm::StringMap<PlacedWeight> &places) {
  SymbolTable symbols(module);
  llvm::json::Object header;
  uint64_t offset = 0;
  for (const std::string &name : names) {
    RankedTensorType type = typeOf(symbols.lookup(name));
    if (cpu::dtypeName(type.getElementType()).empty())
      return ee::Failure{"weight " + ee::inQuotes(name) +
                         " has an element type that functions do not have"};
    uint64_t bytes =
        uint64_t(type.getNumElements()) * widthOf(type.getElementType());
    llvm::json::Array shape;
    for (int64_t extent : type.getShape())
      shape.push_back(extent);
    header[name] = tensorEntry(storedName(type.getElementType()),
                               std::move(shape), offset, bytes);
    places[name] = {offset, bytes};
    offset += bytes;
    if (uint64_t padding = llvm::alignTo(offset, 64) - offset) {
      header["ee.padding." + std::to_string(places.size())] = tensorEntry(
          "U8", llvm::json::Array{int64_t(padding)}, offset, padding);
      offset += padding;
    }
  }
  auto file = openSafetensors(folder, fileName, std::move(header), places);
  if (!file)
    return file.takeFailure();
  for (auto [i, name] : llvm::enumerate(names)) {
    if (auto ok = notInterrupted(); !ok)
      return ok.takeFailure();
    std::string buffer;
    auto data = dataOf(symbols.lookup(name), store, buffer);
    if (!data)
      return data.takeFailure();
    if (data->size() != places[name].bytes)
      return ee::Failure{"weight " + ee::inQuotes(name) + " has " +
                         std::to_string(data->size()) + " bytes, its type " +
                         std::to_string(places[name].bytes)};
    writeTensor(*file, *data);
    if (contents.progress)
      contents.progress("writing weights", i + 1, names.size());
  }
  return folder.close(std::move(*file));
}

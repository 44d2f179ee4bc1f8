// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packs the weights of a module into one safetensors file. A few weights are
// packed at a time, one per core, and written in order, so that memory stays
// at the size of those few.

#include "PackedWeights.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Threading.h"

#include <cmath>
#include <cstdlib>
#include <future>

using namespace mlir;
using namespace adaptive;
using cpu::Format;
using cpu::Packing;

/// cos or sin of position * frequency, rounded once from f64.
std::vector<float> adaptive::computeTable(TableOp op) {
  auto type = cast<RankedTensorType>(op.getType());
  std::vector<double> frequencies;
  for (Attribute value : op.getFrequencies())
    frequencies.push_back(cast<FloatAttr>(value).getValueAsDouble());
  bool cosine = op.getFunction() == "cos";
  std::vector<float> table;
  table.reserve(type.getNumElements());
  for (int64_t position = 0; position < type.getDimSize(0); ++position)
    for (double frequency : frequencies) {
      double angle = double(position) * frequency;
      table.push_back(float(cosine ? std::cos(angle) : std::sin(angle)));
    }
  return table;
}

namespace {
/// Bytes at an alignment that vector loads may rely on.
struct AlignedBytes {
  AlignedBytes(char *bytes, size_t size)
      : data(bytes, &std::free), size(size) {}
  std::unique_ptr<char, decltype(&std::free)> data;
  size_t size;
};

/// TensorProto.DataType codes of the floats a weight may be stored in.
enum OnnxType : int32_t { Float = 1, Half = 10, Double = 11, BFloat16 = 16 };

/// The tensor as f32: a view of the file, or a converted copy in `buffer`.
ee::Expected<const float *>
asFloats(const WeightView &view, std::vector<float> &buffer, StringRef name) {
  auto convert = [&](size_t width, auto &&decode) {
    size_t count = view.data.size() / width;
    buffer.resize(count);
    for (size_t i = 0; i < count; ++i)
      buffer[i] = decode(view.data.data() + i * width);
    return buffer.data();
  };
  switch (view.onnxType) {
  case Float:
    if (reinterpret_cast<uintptr_t>(view.data.data()) % alignof(float) == 0)
      return reinterpret_cast<const float *>(view.data.data());
    return convert(4, [](const char *p) {
      float value;
      std::memcpy(&value, p, 4);
      return value;
    });
  case Double:
    return convert(8, [](const char *p) {
      double value;
      std::memcpy(&value, p, 8);
      return float(value);
    });
  case BFloat16:
    return convert(2, [](const char *p) {
      uint16_t bits;
      std::memcpy(&bits, p, 2);
      uint32_t wide = uint32_t(bits) << 16;
      float value;
      std::memcpy(&value, &wide, 4);
      return value;
    });
  case Half:
    return convert(2, [](const char *p) {
      uint16_t bits;
      std::memcpy(&bits, p, 2);
      return llvm::APFloat(llvm::APFloat::IEEEhalf(), llvm::APInt(16, bits))
          .convertToFloat();
    });
  default:
    return ee::Failure{"weight " + ee::inQuotes(name.str()) +
                       " has ONNX element type " +
                       std::to_string(view.onnxType) +
                       ", accepted are FLOAT, FLOAT16, BFLOAT16, DOUBLE"};
  }
}

/// Packed bytes of one weight; \p view is its stored tensor, if it has one.
/// Runs beside others of its kind.
ee::Expected<std::shared_ptr<AlignedBytes>>
pack(Operation *op, const Packing &packing,
     const std::optional<WeightView> &view) {
  std::vector<float> buffer;
  const float *source = nullptr;
  bool transposed = false;
  StringRef name = SymbolTable::getSymbolName(op).getValue();
  if (auto table = dyn_cast<TableOp>(op)) {
    buffer = computeTable(table);
    source = buffer.data();
  } else if (auto value = cast<WeightOp>(op).getValue()) {
    for (const llvm::APFloat &element : value->getValues<llvm::APFloat>()) {
      bool ignored;
      llvm::APFloat single = element;
      single.convert(llvm::APFloat::IEEEsingle(),
                     llvm::APFloat::rmNearestTiesToEven, &ignored);
      buffer.push_back(single.convertToFloat());
    }
    source = buffer.data();
  } else {
    auto floats = asFloats(*view, buffer, name);
    if (!floats)
      return floats.takeFailure();
    source = *floats;
    transposed = cast<WeightOp>(op).getTransposed();
  }
  size_t bytes = packing.bytes();
  char *memory = static_cast<char *>(
      std::aligned_alloc(64, llvm::alignTo(std::max<size_t>(bytes, 1), 64)));
  if (!memory)
    return ee::Failure{"not enough memory to pack weight " +
                       ee::inQuotes(name.str()) + " (" + std::to_string(bytes) +
                       " bytes)"};
  auto packed = std::make_shared<AlignedBytes>(memory, bytes);
  if (packing.format != Format::Plain) {
    int64_t strideN = transposed ? 1 : packing.k,
            strideK = transposed ? packing.n : 1;
    cpu::packMatrix(packing, source, strideN, strideK,
                    reinterpret_cast<uint8_t *>(memory));
  } else if (!transposed) {
    std::memcpy(memory, source, bytes);
  } else {
    // A plain weight keeps its own order; the stored one has it turned around.
    auto type = cast<RankedTensorType>(cast<WeightOp>(op).getType());
    auto *out = reinterpret_cast<float *>(memory);
    for (int64_t i = 0; i < type.getDimSize(0); ++i)
      for (int64_t j = 0; j < type.getDimSize(1); ++j)
        out[i * type.getDimSize(1) + j] = source[j * type.getDimSize(0) + i];
  }
  return packed;
}
} // namespace

ee::Expected<WrittenFile> adaptive::writePackedWeights(
    ModuleOp module, const cpu::CodePlan &plan, WeightStore &store,
    const ArtifactContents &contents, OutputFolder &folder, StringRef name,
    llvm::StringMap<PlacedWeight> &places) {
  SymbolTable symbols(module);
  std::vector<const cpu::WeightEntry *> order;
  llvm::json::Object header;
  uint64_t offset = 0;
  for (const cpu::WeightEntry &entry : plan.weights) {
    if (!places
             .insert({entry.symbol, {offset, uint64_t(entry.packing.bytes())}})
             .second)
      continue;
    order.push_back(&entry);
    uint64_t bytes = llvm::alignTo(entry.packing.bytes(), 64);
    header[entry.symbol] =
        tensorEntry("U8", llvm::json::Array{int64_t(bytes)}, offset, bytes);
    offset += bytes;
  }
  auto file = openSafetensors(folder, name, std::move(header), places);
  if (!file)
    return file.takeFailure();

  size_t width =
      std::max(1u, llvm::hardware_concurrency().compute_thread_count());
  using Packed = ee::Expected<std::shared_ptr<AlignedBytes>>;
  std::vector<std::future<Packed>> pending;
  size_t started = 0, written = 0;
  while (written < order.size()) {
    if (auto ok = notInterrupted(); !ok)
      return ok.takeFailure();
    while (started < order.size() && pending.size() < width) {
      const cpu::WeightEntry *entry = order[started++];
      Operation *op = symbols.lookup(entry->symbol);
      // The store opens files as it is asked, so it is asked from here alone.
      std::optional<WeightView> view;
      if (auto weight = dyn_cast<WeightOp>(op); weight && !weight.getValue()) {
        auto found = store.get(weight);
        if (!found)
          return found.takeFailure();
        view = *found;
      }
      pending.push_back(std::async(std::launch::async, [op, entry, view] {
        return pack(op, entry->packing, view);
      }));
    }
    Packed packed = pending.front().get();
    pending.erase(pending.begin());
    if (!packed)
      return packed.takeFailure();
    writeTensor(*file, StringRef((*packed)->data.get(), (*packed)->size));
    ++written;
    if (contents.progress)
      contents.progress("packing weights", written, order.size());
  }
  return folder.close(std::move(*file));
}

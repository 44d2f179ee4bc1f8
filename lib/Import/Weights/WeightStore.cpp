// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Opens, checks and maps the files that hold weights.

#include "AdaptiveDialect/Import/WeightStore.h"

#include "ElementTypes.h"
#include "Messages.h"
#include "Safetensors.h"
#include "TensorData.h"
#include "TensorIndex.h"

#include "AdaptiveDialect/IR/Adaptive.h"
#include "ee/checked.h"
#include "ee/file.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"

#include <optional>

using namespace adaptive;

// Larger than any file system the tools meet; sizes stay far from overflow.
static constexpr uint64_t kMaxFile = uint64_t(1) << 46;

namespace {

struct StoredTensor {
  int32_t type = 0;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
  std::string_view data;
  /// Set while the data still stands in typed fields.
  std::unique_ptr<TensorEntry> undecoded;
  std::vector<char> owned;
  bool hashChecked = false;
};

} // namespace

struct WeightStore::Source {
  Source(ee::MappedFile map, std::string directory)
      : map(std::move(map)), directoryPath(std::move(directory)) {}

  /// Maps the part of an external file that a tensor names.
  ee::Expected<std::string_view> external(const TensorEntry &entry,
                                          uint64_t bytes);
  ee::Expected<StoredTensor *> add(TensorEntry &entry);

  ee::MappedFile map;
  std::string directoryPath;
  std::optional<ee::Directory> directory;
  llvm::StringMap<ee::MappedFile> externals;
  llvm::StringMap<StoredTensor> tensors;
};

struct WeightStore::State {
  std::string directory;
  llvm::StringMap<std::string> roots;
  llvm::StringMap<std::unique_ptr<Source>> sources;

  ee::Expected<Source *> open(llvm::StringRef name);
};

WeightStore::WeightStore(std::string directory)
    : state(std::make_unique<State>()) {
  state->directory = directory.empty() ? "." : std::move(directory);
}
WeightStore::~WeightStore() = default;
WeightStore::WeightStore(WeightStore &&) noexcept = default;
WeightStore &WeightStore::operator=(WeightStore &&) noexcept = default;

std::string WeightStore::hash(llvm::ArrayRef<char> data) {
  auto hash = llvm::xxh3_128bits(llvm::ArrayRef(
      reinterpret_cast<const uint8_t *>(data.data()), data.size()));
  auto digits = [](uint64_t part) {
    std::string text = llvm::utohexstr(part, /*LowerCase=*/true);
    return std::string(16 - text.size(), '0') + text;
  };
  return "xxh3:" + digits(hash.high64) + digits(hash.low64);
}

ee::Expected<std::string_view>
WeightStore::Source::external(const TensorEntry &entry, uint64_t bytes) {
  auto range = externalRange(entry);
  if (!range)
    return range.takeFailure();
  auto found = externals.find(range->location);
  if (found == externals.end()) {
    if (!directory) {
      auto opened = ee::Directory::open(directoryPath);
      if (!opened)
        return opened.takeFailure();
      directory.emplace(std::move(*opened));
    }
    auto file = ee::File::openBeneath(*directory, range->location, kMaxFile);
    if (!file)
      return ee::Failure{"external data: " + file.error()};
    auto mapped = file->map();
    if (!mapped)
      return mapped.takeFailure();
    found = externals.try_emplace(range->location, std::move(*mapped)).first;
  }
  std::string_view contents = found->second.text();
  if (range->length && *range->length != bytes)
    return ee::Failure{
        "shape " + shapeText(entry.dims) + " of " +
        onnxTypeName(entry.dataType) + " needs " + std::to_string(bytes) +
        " bytes, but its external data has " + std::to_string(*range->length)};
  if (!ee::rangeFits<uint64_t>(range->offset, bytes, contents.size()))
    return ee::Failure{"external data at offset " +
                       std::to_string(range->offset) + " with " +
                       std::to_string(bytes) + " bytes lies outside of file " +
                       quoted(range->location) + " of " +
                       std::to_string(contents.size()) + " bytes"};
  return contents.substr(range->offset, bytes);
}

ee::Expected<StoredTensor *> WeightStore::Source::add(TensorEntry &entry) {
  auto bytes = checkTensor(entry);
  if (!bytes)
    return ee::Failure{entry.where + ": " + bytes.error()};
  StoredTensor &tensor = tensors[entry.key];
  tensor.type = entry.dataType;
  tensor.shape = entry.dims;
  tensor.bytes = *bytes;
  if (entry.external) {
    auto data = external(entry, *bytes);
    if (!data)
      return ee::Failure{entry.where + ": " + data.error()};
    tensor.data = *data;
  } else if (!entry.raw.empty() || entry.typed.empty()) {
    tensor.data = entry.raw;
  } else {
    tensor.undecoded = std::make_unique<TensorEntry>(entry);
  }
  return &tensor;
}

/// Decodes typed fields on first use.
static std::string_view dataOf(StoredTensor &tensor) {
  if (tensor.undecoded) {
    decodeTyped(*tensor.undecoded, tensor.bytes, tensor.owned, tensor.data);
    tensor.undecoded.reset();
  }
  return tensor.data;
}

static ee::Expected<ee::MappedFile> mapModel(const std::string &path) {
  auto file = ee::File::open(path, kMaxFile);
  if (!file)
    return file.takeFailure();
  return file->map();
}

ee::Expected<void> WeightStore::openModel(const std::string &path,
                                          const Policy &policy,
                                          std::string &slim) {
  auto map = mapModel(path);
  if (!map)
    return map.takeFailure();
  llvm::StringRef parent = llvm::sys::path::parent_path(path);
  auto source = std::make_unique<Source>(
      std::move(*map), parent.empty() ? std::string(".") : parent.str());
  auto onTensor = [&](TensorEntry &entry) -> ee::Expected<TensorRewrite> {
    auto tensor = source->add(entry);
    if (!tensor)
      return tensor.takeFailure();
    TensorRewrite rewrite = policy(entry, (*tensor)->bytes);
    if (rewrite.kind == TensorRewrite::Inline)
      rewrite.data = dataOf(**tensor);
    return rewrite;
  };
  if (auto ok = scanModel(source->map.text(), onTensor, &slim); !ok)
    return ok;
  state->sources[llvm::sys::path::filename(path)] = std::move(source);
  return {};
}

ee::Expected<WeightStore::Source *>
WeightStore::State::open(llvm::StringRef name) {
  auto found = sources.find(name);
  if (found != sources.end())
    return found->second.get();
  auto [root, below] = name.split(':');
  auto rooted = roots.find(root);
  bool isRooted = !below.empty() && rooted != roots.end();
  const std::string &start = isRooted ? rooted->second : directory;
  auto base = ee::Directory::open(start);
  if (!base)
    return base.takeFailure();
  auto file = ee::File::openBeneath(
      *base, std::string_view(isRooted ? below : name), kMaxFile);
  if (!file)
    return file.takeFailure();
  auto map = file->map();
  if (!map)
    return map.takeFailure();
  llvm::SmallString<128> folder(start);
  llvm::sys::path::append(
      folder, llvm::sys::path::parent_path(isRooted ? below : name));
  auto source = std::make_unique<Source>(std::move(*map), folder.str().str());
  auto onTensor = [&](TensorEntry &entry) -> ee::Expected<TensorRewrite> {
    auto tensor = source->add(entry);
    if (!tensor)
      return tensor.takeFailure();
    return TensorRewrite();
  };
  std::string_view bytes = source->map.text();
  auto ok = name.ends_with(".safetensors")
                ? scanSafetensors(bytes, onTensor)
                : scanModel(bytes, onTensor, nullptr);
  if (!ok)
    return ok.takeFailure();
  return (sources[name] = std::move(source)).get();
}

void WeightStore::addRoot(llvm::StringRef root, std::string folder) {
  state->roots[root] = std::move(folder);
}

ee::Expected<WeightView> WeightStore::find(llvm::StringRef sourceName,
                                           llvm::StringRef name) {
  auto source = state->open(sourceName);
  if (!source)
    return ee::Failure{"weights of " + quoted(sourceName) + ": " +
                       source.error()};
  auto found = (*source)->tensors.find(name);
  if (found == (*source)->tensors.end())
    return ee::Failure{quoted(sourceName) + " has no tensor " + quoted(name)};
  StoredTensor &tensor = found->second;
  std::string_view data = dataOf(tensor);
  return WeightView{tensor.type, tensor.shape, {data.data(), data.size()}};
}

ee::Expected<WeightView> WeightStore::get(WeightOp op) {
  auto view = find(op.getSource(), op.getTensor());
  if (!view)
    return view;
  auto type = llvm::cast<mlir::RankedTensorType>(op.getType());
  llvm::SmallVector<int64_t> shape(type.getShape());
  if (op.getTransposed() && shape.size() == 2)
    std::swap(shape[0], shape[1]);
  std::string place =
      quoted(op.getSource()) + ": tensor " + quoted(op.getTensor());
  if (llvm::ArrayRef<int64_t>(shape) != view->shape ||
      onnxElementType(view->onnxType, op.getContext()) != type.getElementType())
    return ee::Failure{place + " is " + onnxTypeName(view->onnxType) + " " +
                       shapeText(view->shape) +
                       ", which is not the type of weight @" +
                       op.getSymName().str()};
  StoredTensor &tensor =
      state->sources[op.getSource()]->tensors[op.getTensor()];
  if (op.getHash() && !tensor.hashChecked) {
    if (hash(view->data) != *op.getHash())
      return ee::Failure{place + " has other contents than when weight @" +
                         op.getSymName().str() +
                         " was made (its hash differs)"};
    tensor.hashChecked = true;
  }
  return view;
}

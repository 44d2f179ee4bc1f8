// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes an ONNX file whose functions are inlined. Large tensors never pass
// through protobuf: they are left out of the model that ONNX's library works
// on, and copied from the mapped input.

#include "AdaptiveDialect/Import/PlainOnnx.h"

#include "OnnxBorder.h"
#include "TensorIndex.h"

#include "AdaptiveDialect/Import/WeightStore.h"
#include "ee/checked.h"
#include "ee/file.h"
#include "ee/output.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <optional>

using namespace adaptive;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

/// External tensors that are embedded have at most this many bytes together.
static constexpr uint64_t kMaxEmbedded = uint64_t(64) << 20;
/// Readers map external data by pages.
static constexpr uint64_t kAlignment = 4096;

namespace {

/// The external tensors of a model, in file order.
struct Externals {
  struct Item {
    std::string key;
    uint64_t bytes = 0, offset = 0;
  };
  std::vector<Item> items;
  uint64_t bytes = 0;
  std::vector<std::string> locations;
};

} // namespace

/// Values in other files are left out; what cannot be (attributes, tensors of
/// functions) comes into the file at once.
static TensorRewrite place(const TensorEntry &entry, uint64_t bytes,
                           Externals &externals) {
  TensorRewrite rewrite;
  if (!entry.external)
    return rewrite;
  for (const auto &[key, value] : entry.externalData)
    if (key == "location")
      externals.locations.push_back(value);
  if (!entry.isValue || entry.inFunction || entry.sparsePart) {
    rewrite.kind = TensorRewrite::Inline;
    return rewrite;
  }
  rewrite.kind = TensorRewrite::Detach;
  externals.items.push_back({entry.key, bytes, 0});
  externals.bytes += bytes;
  return rewrite;
}

/// Writes a file without giving it its name yet.
static ee::Expected<ee::Output>
stage(const std::string &file,
      llvm::function_ref<ee::Expected<void>(llvm::raw_ostream &)> write) {
  auto output = ee::Output::open(file);
  if (!output)
    return output;
  llvm::raw_fd_ostream stream(output->descriptor(), /*shouldClose=*/false);
  auto ok = write(stream);
  stream.flush();
  std::error_code error = stream.error();
  stream.clear_error();
  if (!ok)
    return ok.takeFailure();
  if (error)
    return ee::Failure{"cannot write " + ee::inQuotes(file) + ": " +
                       error.message()};
  return output;
}

/// The data file would take the place of one that the input reads.
static ee::Expected<void> refuseOverwriting(llvm::StringRef input,
                                            llvm::StringRef file,
                                            const Externals &externals) {
  for (const std::string &location : externals.locations) {
    llvm::SmallString<256> other(path::parent_path(input));
    path::append(other, location);
    if (fs::equivalent(other, file))
      return ee::Failure{ee::inQuotes(file.str()) +
                         " holds data of the input; another name is accepted "
                         "for the output"};
  }
  return {};
}

ee::Expected<void> adaptive::writePlainOnnx(llvm::StringRef input,
                                            llvm::StringRef output) {
  std::string dataFile = (output + ".data").str();
  auto named = [&](const std::string &text) {
    bool already = llvm::StringRef(text).contains(input);
    return ee::Failure{already ? text : input.str() + ": " + text};
  };
  if (fs::equivalent(input, output))
    return ee::Failure{"-o must name another file than the input " +
                       ee::inQuotes(input.str())};
  llvm::StringRef folder = path::parent_path(input);
  WeightStore store(folder.empty() ? "." : folder.str());
  Externals externals;
  std::string slim;
  auto onTensor = [&](const TensorEntry &entry, uint64_t bytes) {
    return place(entry, bytes, externals);
  };
  if (auto ok = store.openModel(input.str(), onTensor, slim); !ok)
    return named(ok.error());
  bool embed = externals.bytes <= kMaxEmbedded;
  llvm::StringMap<onnx_border::TensorPlace> places;
  uint64_t end = 0;
  for (Externals::Item &item : externals.items) {
    onnx_border::TensorPlace &where = places[item.key];
    if (embed) {
      auto view = store.find(path::filename(input), item.key);
      if (!view)
        return named(view.error());
      where.raw = {view->data.data(), view->data.size()};
      continue;
    }
    item.offset = (end + kAlignment - 1) / kAlignment * kAlignment;
    end = item.offset + item.bytes;
    where.location = path::filename(dataFile).str();
    where.offset = item.offset;
    where.bytes = item.bytes;
  }
  auto model =
      onnx_border::plainModel(slim, kDetachedMark, [&](const std::string &key) {
        return places.lookup(key);
      });
  if (!model)
    return named(model.error());
  std::optional<ee::Output> data;
  if (!embed) {
    if (auto ok = refuseOverwriting(input, dataFile, externals); !ok)
      return ok;
    auto written =
        stage(dataFile, [&](llvm::raw_ostream &stream) -> ee::Expected<void> {
          uint64_t at = 0;
          for (const Externals::Item &item : externals.items) {
            auto view = store.find(path::filename(input), item.key);
            if (!view)
              return named(view.error());
            if (ee::DeferSignals::pending())
              return ee::Failure{"interrupted"};
            stream.write_zeros(item.offset - at);
            stream.write(view->data.data(), view->data.size());
            at = item.offset + item.bytes;
          }
          return {};
        });
    if (!written)
      return written.takeFailure();
    data = std::move(*written);
  }
  auto file =
      stage(output.str(), [&](llvm::raw_ostream &stream) -> ee::Expected<void> {
        stream << *model;
        return {};
      });
  if (!file)
    return file.takeFailure();
  if (data)
    if (auto ok = data->commit(); !ok)
      return ok;
  auto ok = file->commit();
  if (!ok && data)
    (void)fs::remove(dataFile);
  return ok;
}

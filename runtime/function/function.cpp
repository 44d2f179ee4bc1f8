// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks inputs, calls the compiled function, takes its results.
#include "ee/function.h"

#include "ee/checked.h"
#include "ee/file.h"
#include "memory.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unistd.h>

namespace ee {

std::optional<int64_t> dtypeBytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, int64_t> table[] = {
      {"f32", 4}, {"f64", 8}, {"f16", 2}, {"bf16", 2}, {"bool", 1},
      {"i8", 1},  {"u8", 1},  {"i16", 2}, {"u16", 2},  {"i32", 4},
      {"u32", 4}, {"i64", 8}, {"u64", 8}};
  for (auto [name, bytes] : table)
    if (dtype == name)
      return bytes;
  return std::nullopt;
}

std::string shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string shapeText(const FunctionTensor &tensor) {
  std::string text = "[";
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    text += i ? ", " : "";
    if (tensor.shape[i] >= 0)
      text += std::to_string(tensor.shape[i]);
    else
      text += tensor.dims[i].empty() ? "?" : tensor.dims[i];
  }
  return text + "]";
}

static std::optional<uint64_t> bytesOf(std::string_view dtype,
                                       std::span<const int64_t> shape) {
  std::optional<uint64_t> bytes = uint64_t(dtypeBytes(dtype).value_or(0));
  for (int64_t extent : shape) {
    if (extent < 0 || !bytes)
      return std::nullopt;
    bytes = checkedMul(*bytes, uint64_t(extent));
  }
  return bytes;
}

int64_t TensorResult::bytes() const {
  return int64_t(bytesOf(dtype, shape).value_or(0));
}

Expected<void> checkInputs(const Manifest &manifest,
                           std::span<const TensorView> inputs) {
  const std::vector<FunctionTensor> &wanted = manifest.function.inputs;
  if (inputs.size() != wanted.size())
    return Failure{"the model has " + std::to_string(wanted.size()) +
                   " inputs, " + std::to_string(inputs.size()) + " were given"};
  struct Seen {
    int64_t extent;
    std::string input;
  };
  std::map<std::string, Seen> named;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const FunctionTensor &want = wanted[i];
    const TensorView &got = inputs[i];
    std::string what = "input " + inQuotes(want.name);
    if (got.dtype != want.dtype)
      return Failure{what + " has dtype " + got.dtype + ", accepted is " +
                     want.dtype};
    bool fits = got.shape.size() == want.shape.size();
    for (size_t d = 0; fits && d < want.shape.size(); ++d)
      fits = got.shape[d] >= 0 &&
             (want.shape[d] < 0 || got.shape[d] == want.shape[d]);
    auto bytes = bytesOf(got.dtype, got.shape);
    if (!fits || !bytes)
      return Failure{what + " has shape " + shapeText(got.shape) +
                     ", accepted is " + shapeText(want)};
    for (size_t d = 0; d < want.shape.size(); ++d) {
      if (want.shape[d] >= 0 || want.dims[d].empty())
        continue;
      auto [it, isNew] =
          named.insert({want.dims[d], Seen{got.shape[d], want.name}});
      if (!isNew && it->second.extent != got.shape[d])
        return Failure{what + " has " + std::to_string(got.shape[d]) +
                       " for the dimension " + inQuotes(want.dims[d]) +
                       ", but input " + inQuotes(it->second.input) + " has " +
                       std::to_string(it->second.extent)};
    }
    auto data = static_cast<const uint8_t *>(got.data);
    if (got.dtype == "bool" &&
        std::any_of(data, data + *bytes, [](uint8_t b) { return b > 1; }))
      return Failure{what + " has a bool that is neither 0 nor 1"};
  }
  return {};
}

static uint64_t machineMemory() {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? uint64_t(pages) * uint64_t(size)
                               : uint64_t(1) << 36;
}

Expected<std::vector<TensorResult>>
runFunction(const Artifact &artifact, std::span<const TensorView> inputs,
            const FunctionOptions &options) {
  const Manifest &m = artifact.manifest();
  if (m.kind != ArtifactKind::Function || !artifact.function())
    return Failure{inQuotes(artifact.path()) +
                   " is not a function that was loaded"};
  if (auto checked = checkInputs(m, inputs); !checked)
    return checked.takeFailure();

  // Code reads inputs and never writes them; the C structs have no const.
  std::vector<ee_tensor> in, out;
  for (const TensorView &view : inputs)
    in.push_back({const_cast<void *>(view.data),
                  const_cast<int64_t *>(view.shape.data()),
                  int64_t(view.shape.size())});
  std::vector<TensorResult> results(m.function.outputs.size());
  for (size_t i = 0; i < results.size(); ++i) {
    results[i].dtype = m.function.outputs[i].dtype;
    results[i].shape.resize(m.function.outputs[i].shape.size());
    out.push_back(
        {nullptr, results[i].shape.data(), int64_t(results[i].shape.size())});
  }
  FunctionMemory memory(options.maxBytes ? options.maxBytes : machineMemory());
  ee_function_args args = {in.data(), out.data(), artifact.weights().data(),
                           memory.handle(), nullptr};
  artifact.function()(&args);
  if (args.error)
    return Failure{memory.error().empty() ? std::string(args.error)
                                          : memory.error()};
  std::map<void *, size_t> taken;
  for (size_t i = 0; i < results.size(); ++i) {
    auto bytes = bytesOf(results[i].dtype, results[i].shape);
    // Outputs may be views of one value; each result owns its memory.
    auto [first, isNew] = taken.insert({out[i].data, i});
    if (!isNew && bytes && *bytes <= uint64_t(results[first->second].bytes())) {
      auto copy =
          static_cast<uint8_t *>(std::malloc(std::max<uint64_t>(*bytes, 1)));
      if (!copy)
        return Failure{"there is no memory left for output " +
                       inQuotes(m.function.outputs[i].name)};
      std::memcpy(copy, out[i].data, *bytes);
      results[i].data.reset(copy);
      continue;
    }
    if (!isNew || !bytes || *bytes > memory.sizeOf(out[i].data) ||
        !memory.take(out[i].data))
      return Failure{"output " + inQuotes(m.function.outputs[i].name) +
                     " of shape " + shapeText(results[i].shape) +
                     " does not fit the memory it lies in: the compiled code "
                     "is broken"};
    results[i].data.reset(static_cast<uint8_t *>(out[i].data));
  }
  return results;
}

} // namespace ee

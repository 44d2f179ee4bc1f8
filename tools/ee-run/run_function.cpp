// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run` on a function: .npy arrays to tensors and back.
#include "run.h"

#include "ee/file.h"
#include "ee/function.h"

#include <algorithm>
#include <cstring>

namespace {

/// Names of a dtype in the manifest and in .npy files. NumPy has no bfloat16:
/// such tensors travel as f4, which holds each of their values.
struct DtypeNames {
  const char *manifest, *npy, *numpy;
};
constexpr DtypeNames dtypes[] = {
    {"f32", "f4", "float32"}, {"f64", "f8", "float64"},
    {"f16", "f2", "float16"}, {"bf16", "f4", "float32"},
    {"bool", "b1", "bool"},   {"i8", "i1", "int8"},
    {"u8", "u1", "uint8"},    {"i16", "i2", "int16"},
    {"u16", "u2", "uint16"},  {"i32", "i4", "int32"},
    {"u32", "u4", "uint32"},  {"i64", "i8", "int64"},
    {"u64", "u8", "uint64"}};

const DtypeNames &namesOf(const std::string &dtype) {
  for (const DtypeNames &names : dtypes)
    if (dtype == names.manifest)
      return names;
  throw CommandError("dtype " + dtype + " has no form in .npy files");
}

std::string numpyName(const std::string &npy) {
  for (const DtypeNames &names : dtypes)
    if (npy == names.npy)
      return names.numpy;
  return npy;
}

/// f32 to bf16 where nothing is lost.
std::vector<uint8_t> toBfloat16(const NpyArray &array,
                                const std::string &what) {
  std::vector<uint8_t> bytes(array.bytes.size() / 2);
  for (size_t i = 0; i < array.bytes.size() / 4; ++i) {
    if (array.bytes[4 * i] || array.bytes[4 * i + 1])
      throw CommandError(what +
                         " is bfloat16: accepted are float32 arrays "
                         "whose values bfloat16 can hold, but element " +
                         std::to_string(i) + " is " +
                         std::to_string(npyNumber(array, int64_t(i))));
    std::memcpy(&bytes[2 * i], &array.bytes[4 * i + 2], 2);
  }
  return bytes;
}

std::vector<uint8_t> fromBfloat16(const uint8_t *data, size_t bytes) {
  std::vector<uint8_t> wide(bytes * 2);
  for (size_t i = 0; i < bytes / 2; ++i)
    std::memcpy(&wide[4 * i + 2], data + 2 * i, 2);
  return wide;
}

/// Flags about depth and serving mean nothing here.
void refuseDecoderFlags(const ModelFlags &flags) {
  for (auto [given, name] :
       {std::pair(!flags.policyFile.empty(), "--policy"),
        std::pair(flags.forceFull, "--force-full"),
        std::pair(!flags.thresholds.empty(), "--threshold"),
        std::pair(flags.minDepth.has_value(), "--min-depth"),
        std::pair(flags.maxDepth.has_value(), "--max-depth")})
    if (given)
      throw CommandError(std::string(name) + " is for decoders, but " +
                         ee::inQuotes(flags.artifact) + " is a function");
}

} // namespace

Arrays runFunctionModel(const Model &model, const RunFlags &flags,
                        const Arrays &inputs) {
  refuseDecoderFlags(flags.model);
  const ee::FunctionFacts &function = model.artifact.manifest().function;
  std::string list;
  for (const ee::FunctionTensor &input : function.inputs)
    list += (list.empty() ? "" : ", ") + ee::inQuotes(input.name);
  for (auto &[name, array] : inputs)
    if (std::none_of(function.inputs.begin(), function.inputs.end(),
                     [&name = name](const ee::FunctionTensor &input) {
                       return input.name == name;
                     }))
      throw CommandError("no input " + ee::inQuotes(name) + ", accepted are " +
                         (list.empty() ? "none" : list));
  std::vector<ee::TensorView> views;
  std::vector<std::vector<uint8_t>> narrow(function.inputs.size());
  for (const ee::FunctionTensor &input : function.inputs) {
    auto it = inputs.find(input.name);
    std::string what = "input " + ee::inQuotes(input.name);
    if (it == inputs.end())
      throw CommandError(what + " is missing: --input " + input.name +
                         "=@FILE.npy with " + input.dtype + " " +
                         ee::shapeText(input));
    const NpyArray &array = it->second;
    if (array.dtype != namesOf(input.dtype).npy)
      throw CommandError(what + " has dtype " + numpyName(array.dtype) +
                         ", accepted is " + namesOf(input.dtype).numpy +
                         (input.dtype == "bf16"
                              ? " with values of bfloat16, which .npy "
                                "files cannot hold themselves"
                              : ""));
    const void *data = array.bytes.data();
    if (input.dtype == "bf16") {
      narrow[views.size()] = toBfloat16(array, what);
      data = narrow[views.size()].data();
    }
    views.push_back({data, input.dtype, array.shape});
  }
  std::vector<ee::TensorResult> results =
      need(ee::runFunction(model.artifact, views));
  Arrays outputs;
  for (size_t i = 0; i < results.size(); ++i) {
    const ee::TensorResult &result = results[i];
    NpyArray array{namesOf(result.dtype).npy, result.shape, {}};
    const uint8_t *data = result.data.get();
    if (result.dtype == "bf16")
      array.bytes = fromBfloat16(data, size_t(result.bytes()));
    else
      array.bytes.assign(data, data + result.bytes());
    outputs.emplace(function.outputs[i].name, std::move(array));
  }
  return outputs;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Safetensors: eight bytes of header length, a JSON header, the data.

#include "Safetensors.h"

#include "ElementTypes.h"
#include "Messages.h"

#include "ee/checked.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/JSON.h"

#include <cstring>

using namespace adaptive;

static int32_t onnxTypeOf(llvm::StringRef dtype) {
  return llvm::StringSwitch<int32_t>(dtype)
      .Case("F64", OnnxDouble)
      .Case("F32", OnnxFloat)
      .Case("F16", OnnxFloat16)
      .Case("BF16", OnnxBfloat16)
      .Case("I64", OnnxInt64)
      .Case("I32", OnnxInt32)
      .Case("I16", OnnxInt16)
      .Case("I8", OnnxInt8)
      .Case("U64", OnnxUint64)
      .Case("U32", OnnxUint32)
      .Case("U16", OnnxUint16)
      .Case("U8", OnnxUint8)
      .Case("BOOL", OnnxBool)
      .Default(OnnxUndefined);
}

/// Fills `entry` from its JSON description; false if a field is missing or
/// wrong.
static bool describe(const llvm::json::Object &object, std::string_view data,
                     TensorEntry &entry) {
  auto dtype = object.getString("dtype");
  const llvm::json::Array *shape = object.getArray("shape");
  const llvm::json::Array *offsets = object.getArray("data_offsets");
  if (!dtype || !shape || !offsets || offsets->size() != 2)
    return false;
  entry.dataType = onnxTypeOf(*dtype);
  for (const llvm::json::Value &dim : *shape) {
    auto value = dim.getAsInteger();
    if (!value)
      return false;
    entry.dims.push_back(*value);
  }
  auto begin = (*offsets)[0].getAsInteger(), end = (*offsets)[1].getAsInteger();
  if (!begin || !end || *begin < 0 || *end < *begin ||
      static_cast<uint64_t>(*end) > data.size())
    return false;
  entry.hasRaw = true;
  entry.raw = data.substr(*begin, *end - *begin);
  return true;
}

/// LLVM's JSON parser recurses; a header needs three levels.
static bool isShallow(llvm::StringRef json) {
  unsigned depth = 0;
  bool inString = false;
  for (size_t i = 0; i < json.size(); ++i) {
    char c = json[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '{' || c == '[') {
      if (++depth > 8)
        return false;
    } else if ((c == '}' || c == ']') && depth) {
      --depth;
    }
  }
  return true;
}

ee::Expected<void> adaptive::scanSafetensors(std::string_view bytes,
                                             TensorCallback callback) {
  uint64_t length = 0;
  if (bytes.size() < sizeof(length))
    return ee::Failure{"not a safetensors file (shorter than its header)"};
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (!ee::rangeFits<uint64_t>(sizeof(length), length, bytes.size()))
    return ee::Failure{
        "not a safetensors file (its header is longer than the file)"};
  llvm::StringRef text(bytes.data() + sizeof(length), length);
  if (!isShallow(text))
    return ee::Failure{
        "the header of the safetensors file is nested too deeply"};
  auto header = llvm::json::parse(text);
  if (!header) {
    llvm::consumeError(header.takeError());
    return ee::Failure{"the header of the safetensors file is not JSON"};
  }
  const llvm::json::Object *root = header->getAsObject();
  if (!root)
    return ee::Failure{
        "the header of the safetensors file is not a JSON object"};
  std::string_view data = bytes.substr(sizeof(length) + length);
  for (const auto &[name, value] : *root) {
    if (name == "__metadata__")
      continue;
    TensorEntry entry;
    entry.key = entry.name = name.str();
    entry.where = "tensor " + quoted(entry.key);
    const llvm::json::Object *object = value.getAsObject();
    if (!object || !describe(*object, data, entry))
      return ee::Failure{
          entry.where +
          ": its dtype, shape or data_offsets are missing or wrong"};
    if (auto ok = callback(entry); !ok)
      return ok.takeFailure();
  }
  return {};
}

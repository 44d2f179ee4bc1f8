// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensor data: size checks and decoding of typed fields.

#include "TensorData.h"

#include "ElementTypes.h"
#include "Messages.h"

#include "ee/checked.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

using namespace adaptive;
using wire::Field;

static_assert(std::endian::native == std::endian::little,
              "raw data is little-endian");

namespace {

/// The typed field that holds elements of `type`, and its name.
struct TypedField {
  uint32_t number;
  const char *name;
};

TypedField typedFieldOf(int32_t type) {
  switch (type) {
  case OnnxFloat:
  case OnnxComplex64:
    return {4, "float_data"};
  case OnnxString:
    return {6, "string_data"};
  case OnnxInt64:
    return {7, "int64_data"};
  case OnnxDouble:
  case OnnxComplex128:
    return {10, "double_data"};
  case OnnxUint32:
  case OnnxUint64:
    return {11, "uint64_data"};
  default:
    return {5, "int32_data"};
  }
}

/// Elements in one chunk of a typed field, or nothing if it is malformed.
std::optional<uint64_t> chunkElements(const Field &field) {
  unsigned width = field.number == 4 ? 4 : field.number == 10 ? 8 : 0;
  if (field.number == 6)
    return field.type == wire::Bytes ? std::optional<uint64_t>(1)
                                     : std::nullopt;
  if (field.type != wire::Bytes) {
    bool ok = width == 4   ? field.type == wire::Fixed32
              : width == 8 ? field.type == wire::Fixed64
                           : field.type == wire::Varint;
    return ok ? std::optional<uint64_t>(1) : std::nullopt;
  }
  if (width)
    return field.payload.size() % width
               ? std::nullopt
               : std::optional<uint64_t>(field.payload.size() / width);
  wire::Reader reader(field.payload);
  uint64_t count = 0, value;
  while (!reader.atEnd() && reader.varint(value))
    ++count;
  return reader.failed() ? std::nullopt : std::optional<uint64_t>(count);
}

ee::Expected<void> checkTyped(const TensorEntry &entry, uint64_t elements) {
  TypedField wanted = typedFieldOf(entry.dataType);
  uint64_t count = 0;
  for (const Field &field : entry.typed) {
    if (field.number != wanted.number)
      return ee::Failure{onnxTypeName(entry.dataType) +
                         " data must stand in raw_data or " + wanted.name};
    auto part = chunkElements(field);
    if (!part)
      return ee::Failure{std::string(wanted.name) + " is malformed"};
    count += *part;
  }
  unsigned bits = onnxTypeBits(entry.dataType);
  if (bits && bits < 8 && elements)
    return ee::Failure{onnxTypeName(entry.dataType) +
                       " data must stand in raw_data"};
  uint64_t perElement =
      entry.dataType == OnnxComplex64 || entry.dataType == OnnxComplex128 ? 2
                                                                          : 1;
  if (count != elements * perElement)
    return ee::Failure{"shape " + shapeText(entry.dims) + " needs " +
                       std::to_string(elements * perElement) + " values, but " +
                       wanted.name + " has " + std::to_string(count)};
  return {};
}

ee::Expected<uint64_t> parseNumber(std::string_view key,
                                   const std::string &text) {
  uint64_t value = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() ||
      text.empty() || value > uint64_t(INT64_MAX))
    return ee::Failure{"external data " + std::string(key) + " " +
                       quoted(text) + " is not a number of bytes"};
  return value;
}

} // namespace

ee::Expected<ExternalRange> adaptive::externalRange(const TensorEntry &entry) {
  ExternalRange range;
  for (const auto &[key, value] : entry.externalData) {
    if (key == "location") {
      range.location = value;
    } else if (key == "offset" || key == "length") {
      auto number = parseNumber(key, value);
      if (!number)
        return number.takeFailure();
      if (key == "offset")
        range.offset = *number;
      else
        range.length = *number;
    }
  }
  if (range.location.empty())
    return ee::Failure{"external data names no file (key 'location')"};
  return range;
}

ee::Expected<uint64_t> adaptive::checkTensor(const TensorEntry &entry) {
  bool isString = entry.dataType == OnnxString;
  if (!isString && onnxTypeBits(entry.dataType) == 0)
    return ee::Failure{onnxTypeName(entry.dataType) +
                       " is not an element type of ONNX"};
  auto elements = elementCount(entry.dims);
  if (!elements)
    return elements;
  ee::Expected<uint64_t> bytes = uint64_t(0);
  if (!isString) {
    bytes = rawBytes(entry.dataType, entry.dims);
    if (!bytes)
      return bytes;
  }
  if (entry.external) {
    if (isString)
      return ee::Failure{"STRING data cannot be external"};
    if (entry.hasRaw || !entry.typed.empty())
      return ee::Failure{
          "the tensor has data inside of the file and external data"};
    return bytes;
  }
  if (!entry.hasRaw || (entry.raw.empty() && !entry.typed.empty())) {
    if (auto ok = checkTyped(entry, *elements); !ok)
      return ok.takeFailure();
    return bytes;
  }
  if (!entry.typed.empty() || isString)
    return ee::Failure{isString ? "STRING data must stand in string_data"
                                : "the tensor has raw_data and typed data"};
  if (entry.raw.size() != *bytes)
    return ee::Failure{"shape " + shapeText(entry.dims) + " of " +
                       onnxTypeName(entry.dataType) + " needs " +
                       std::to_string(*bytes) + " bytes, but raw_data has " +
                       std::to_string(entry.raw.size())};
  return bytes;
}

void adaptive::decodeTyped(const TensorEntry &entry, uint64_t bytes,
                           std::vector<char> &owned, std::string_view &view) {
  bool isFloat =
      entry.dataType == OnnxFloat || entry.dataType == OnnxComplex64 ||
      entry.dataType == OnnxDouble || entry.dataType == OnnxComplex128;
  if (isFloat && entry.typed.size() == 1) {
    view = entry.typed.front().payload;
    return;
  }
  owned.reserve(bytes);
  unsigned width = onnxTypeBits(entry.dataType) / 8;
  auto append = [&](uint64_t value) {
    char element[8];
    std::memcpy(element, &value, sizeof(element));
    owned.insert(owned.end(), element, element + std::min<unsigned>(width, 8));
  };
  for (const Field &field : entry.typed) {
    if (isFloat) {
      owned.insert(owned.end(), field.payload.begin(), field.payload.end());
    } else if (field.type == wire::Varint) {
      append(field.varint);
    } else {
      wire::Reader reader(field.payload);
      uint64_t value;
      while (!reader.atEnd() && reader.varint(value))
        append(value);
    }
  }
  view = {owned.data(), owned.size()};
}

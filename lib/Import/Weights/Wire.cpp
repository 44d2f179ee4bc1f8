// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Protobuf wire encoding; every length is checked against what is there.

#include "Wire.h"

using namespace adaptive::wire;

bool Reader::varint(uint64_t &value) {
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest.empty())
      return fail();
    auto byte = static_cast<uint8_t>(rest.front());
    rest.remove_prefix(1);
    value |= uint64_t(byte & 0x7f) << shift;
    if (!(byte & 0x80))
      return true;
  }
  return fail();
}

bool Reader::next(Field &field) {
  if (rest.empty())
    return false;
  std::string_view start = rest;
  uint64_t tag;
  if (!varint(tag) || (tag >> 3) == 0 || (tag >> 3) > 0x1fffffff)
    return fail();
  field.number = static_cast<uint32_t>(tag >> 3);
  field.payload = {};
  field.varint = 0;
  uint64_t length = 0;
  switch (tag & 7) {
  case Varint:
    field.type = Varint;
    if (!varint(field.varint))
      return false;
    break;
  case Fixed64:
    field.type = Fixed64;
    length = 8;
    break;
  case Fixed32:
    field.type = Fixed32;
    length = 4;
    break;
  case Bytes:
    field.type = Bytes;
    if (!varint(length))
      return false;
    break;
  default: // groups: no ONNX version has any
    return fail();
  }
  if (length > rest.size())
    return fail();
  field.payload = rest.substr(0, length);
  rest.remove_prefix(length);
  field.whole = start.substr(0, start.size() - rest.size());
  return true;
}

void adaptive::wire::appendVarint(std::string &out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

void adaptive::wire::appendVarintField(std::string &out, uint32_t number,
                                       uint64_t value) {
  appendVarint(out, uint64_t(number) << 3 | Varint);
  appendVarint(out, value);
}

void adaptive::wire::appendBytesField(std::string &out, uint32_t number,
                                      std::string_view payload) {
  appendVarint(out, uint64_t(number) << 3 | Bytes);
  appendVarint(out, payload.size());
  out.append(payload);
}

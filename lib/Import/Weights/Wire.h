// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads and writes protobuf's wire encoding without a schema. Weights are found
// by it, because a protobuf parser would copy hundreds of megabytes of tensor
// data that the compiler wants to map and look at once.
// Encoding: https://protobuf.dev/programming-guides/encoding/

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_WIRE_H
#define ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_WIRE_H

#include <cstdint>
#include <string>
#include <string_view>

namespace adaptive::wire {

enum Type : uint8_t { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

/// One field of a message. All views point into the bytes that are read.
struct Field {
  uint32_t number = 0;
  Type type = Varint;
  uint64_t varint = 0;      ///< value of a `Varint`
  std::string_view payload; ///< contents of `Bytes`, `Fixed32`, `Fixed64`
  std::string_view whole;   ///< tag, length and payload

  bool is(uint32_t n, Type t) const { return number == n && type == t; }
};

/// Walks the fields of one message.
class Reader {
public:
  explicit Reader(std::string_view message) : rest(message) {}

  /// Reads the next field. False at the end and on malformed bytes; `failed`
  /// tells the two apart.
  bool next(Field &field);
  bool failed() const { return bad; }

  /// Reads one bare varint (an element of a packed field).
  bool varint(uint64_t &value);
  bool atEnd() const { return rest.empty(); }

private:
  bool fail() {
    bad = true;
    return false;
  }

  std::string_view rest;
  bool bad = false;
};

void appendVarint(std::string &out, uint64_t value);
void appendVarintField(std::string &out, uint32_t number, uint64_t value);
void appendBytesField(std::string &out, uint32_t number,
                      std::string_view payload);

} // namespace adaptive::wire

#endif // ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_WIRE_H

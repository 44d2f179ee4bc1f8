// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The wire reader never trusts a length.

#include "Wire.h"

#include "gtest/gtest.h"

using namespace adaptive::wire;
using namespace std::literals;

TEST(Wire, ReadsEachFieldType) {
  // Example bytes of the encoding guide (150, "testing"), and two fixed fields.
  Reader reader(
      "\x08\x96\x01\x12\x07testing\x1d\x01\x02\x03\x04\x21\x01\x02\x03\x04\x05\x06\x07\x08"sv);
  Field field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_TRUE(field.is(1, Varint));
  EXPECT_EQ(field.varint, 150u);
  EXPECT_EQ(field.whole, "\x08\x96\x01"sv);
  ASSERT_TRUE(reader.next(field));
  EXPECT_TRUE(field.is(2, Bytes));
  EXPECT_EQ(field.payload, "testing");
  ASSERT_TRUE(reader.next(field));
  EXPECT_TRUE(field.is(3, Fixed32));
  EXPECT_EQ(field.payload.size(), 4u);
  ASSERT_TRUE(reader.next(field));
  EXPECT_TRUE(field.is(4, Fixed64));
  EXPECT_FALSE(reader.next(field));
  EXPECT_FALSE(reader.failed());
}

TEST(Wire, RefusesMalformedBytes) {
  const std::string_view malformed[] = {
      "\x08"sv,                                             // no value
      "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv, // 11-byte varint
      "\x12\x05test"sv,                                 // length past the end
      "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv, // length 2^64 - 1
      "\x1d\x01\x02"sv,                                 // short fixed32
      "\x0b\x0c"sv,                                     // a group
      "\x0e\x01"sv,                                     // wire type 6
      "\x02\x01x"sv,                                    // field number 0
  };
  for (std::string_view bytes : malformed) {
    Reader reader(bytes);
    Field field;
    while (reader.next(field))
      ;
    EXPECT_TRUE(reader.failed()) << ::testing::PrintToString(bytes);
  }
}

TEST(Wire, WritesWhatItReads) {
  std::string message;
  appendVarintField(message, 1, UINT64_MAX);
  appendBytesField(message, 200, "payload");
  Reader reader(message);
  Field field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.varint, UINT64_MAX);
  ASSERT_TRUE(reader.next(field));
  EXPECT_TRUE(field.is(200, Bytes));
  EXPECT_EQ(field.payload, "payload");
  EXPECT_FALSE(reader.next(field));
  EXPECT_FALSE(reader.failed());
}

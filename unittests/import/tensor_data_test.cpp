// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sizes of tensors are checked with arithmetic that cannot overflow, and typed
// fields decode to the raw layout.

#include "ElementTypes.h"
#include "TensorData.h"

#include "gtest/gtest.h"

#include <cstring>

using namespace adaptive;
using namespace std::literals;

namespace {

wire::Field bytesField(uint32_t number, std::string_view payload) {
  wire::Field field;
  field.number = number;
  field.type = wire::Bytes;
  field.payload = payload;
  return field;
}

TensorEntry rawEntry(int32_t type, std::vector<int64_t> dims,
                     std::string_view raw) {
  TensorEntry entry;
  entry.dataType = type;
  entry.dims = std::move(dims);
  entry.hasRaw = true;
  entry.raw = raw;
  return entry;
}

TensorEntry typedEntry(int32_t type, std::vector<int64_t> dims, uint32_t field,
                       std::string_view payload) {
  TensorEntry entry;
  entry.dataType = type;
  entry.dims = std::move(dims);
  entry.typed.push_back(bytesField(field, payload));
  return entry;
}

std::string decoded(const TensorEntry &entry) {
  auto bytes = checkTensor(entry);
  EXPECT_TRUE(bytes) << bytes.error();
  std::vector<char> owned;
  std::string_view view;
  decodeTyped(entry, *bytes, owned, view);
  EXPECT_EQ(view.size(), *bytes);
  return std::string(view);
}

} // namespace

TEST(ElementTypes, RawBytes) {
  const int64_t matrix[] = {3, 5}, scalar[] = {1};
  EXPECT_EQ(*rawBytes(OnnxFloat, matrix), 60u);
  EXPECT_EQ(*rawBytes(OnnxBfloat16, matrix), 30u);
  EXPECT_EQ(*rawBytes(OnnxBool, matrix), 15u);
  EXPECT_EQ(*rawBytes(OnnxComplex128, scalar), 16u);
  EXPECT_EQ(*rawBytes(/*INT4*/ 22, matrix), 8u);
  EXPECT_EQ(*rawBytes(/*FLOAT6E2M3*/ 27, matrix), 12u);
  EXPECT_EQ(*rawBytes(OnnxDouble, {}), 8u);
  EXPECT_FALSE(rawBytes(OnnxString, matrix));
  EXPECT_FALSE(rawBytes(99, matrix));
  EXPECT_FALSE(rawBytes(-1, matrix));
}

TEST(ElementTypes, RefusesImpossibleShapes) {
  const int64_t negative[] = {2, -1};
  const int64_t huge[] = {int64_t(1) << 32, int64_t(1) << 31};
  const int64_t hugeButEmpty[] = {int64_t(1) << 62, 4, 0};
  const int64_t bitsOverflow[] = {int64_t(1) << 62};
  EXPECT_FALSE(elementCount(negative));
  EXPECT_FALSE(elementCount(huge));
  EXPECT_FALSE(elementCount(hugeButEmpty));
  EXPECT_TRUE(elementCount(bitsOverflow));
  EXPECT_FALSE(rawBytes(OnnxComplex128, bitsOverflow));
  const int64_t empty[] = {0, 7};
  EXPECT_EQ(*elementCount(empty), 0u);
}

TEST(TensorData, RawSizeMustMatchExactly) {
  EXPECT_TRUE(checkTensor(rawEntry(OnnxInt32, {2}, "12345678"sv)));
  EXPECT_FALSE(checkTensor(rawEntry(OnnxInt32, {2}, "1234567"sv)));
  EXPECT_FALSE(checkTensor(rawEntry(OnnxInt32, {2}, "123456789"sv)));
  EXPECT_TRUE(checkTensor(rawEntry(OnnxInt32, {0}, ""sv)));
  EXPECT_FALSE(checkTensor(rawEntry(OnnxString, {1}, "x"sv)));
  EXPECT_FALSE(checkTensor(rawEntry(OnnxUndefined, {1}, "x"sv)));
}

TEST(TensorData, DecodesTypedFields) {
  // 3, -1 as varints (int64_data and int32_data sign-extend to ten bytes).
  std::string_view varints = "\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv;
  int64_t wide[2];
  std::string raw = decoded(typedEntry(OnnxInt64, {2}, 7, varints));
  ASSERT_EQ(raw.size(), sizeof(wide));
  std::memcpy(wide, raw.data(), sizeof(wide));
  EXPECT_EQ(wide[0], 3);
  EXPECT_EQ(wide[1], -1);
  EXPECT_EQ(decoded(typedEntry(OnnxInt8, {2}, 5, varints)), "\x03\xff"sv);
  // 1.0 in half precision is 0x3c00 = 15360.
  EXPECT_EQ(decoded(typedEntry(OnnxFloat16, {1}, 5, "\x80\x78"sv)),
            "\x00\x3c"sv);
  EXPECT_EQ(decoded(typedEntry(OnnxFloat, {1}, 4, "\x00\x00\x80\x3f"sv)),
            "\x00\x00\x80\x3f"sv);
  // Unpacked fields, one value each.
  TensorEntry unpacked = typedEntry(OnnxBool, {2}, 5, ""sv);
  unpacked.typed.clear();
  for (uint64_t value : {1, 0}) {
    wire::Field field;
    field.number = 5;
    field.varint = value;
    unpacked.typed.push_back(field);
  }
  EXPECT_EQ(decoded(unpacked), "\x01\x00"sv);
}

TEST(TensorData, RefusesWrongTypedFields) {
  EXPECT_FALSE(
      checkTensor(typedEntry(OnnxFloat, {1}, 5, "\x01"sv))); // wrong field
  EXPECT_FALSE(
      checkTensor(typedEntry(OnnxFloat, {1}, 4, "\x01\x02"sv))); // half a float
  EXPECT_FALSE(
      checkTensor(typedEntry(OnnxInt64, {3}, 7, "\x01\x02"sv))); // too few
  EXPECT_FALSE(
      checkTensor(typedEntry(OnnxInt64, {1}, 7, "\x01\x02"sv))); // too many
  EXPECT_FALSE(
      checkTensor(typedEntry(OnnxInt64, {1}, 7, "\x80"sv))); // cut varint
  TensorEntry both = rawEntry(OnnxFloat, {1}, "1234"sv);
  both.typed.push_back(bytesField(4, "1234"sv));
  EXPECT_FALSE(checkTensor(both));
}

TEST(TensorData, ExternalRanges) {
  TensorEntry entry;
  entry.external = true;
  EXPECT_FALSE(externalRange(entry)); // no location
  entry.externalData = {
      {"location", "w"}, {"offset", "12"}, {"length", "34"}, {"checksum", "x"}};
  auto range = externalRange(entry);
  ASSERT_TRUE(range);
  EXPECT_EQ(range->offset, 12u);
  EXPECT_EQ(*range->length, 34u);
  for (const char *bad :
       {"", "-1", "1e3", "0x10", " 1", "9223372036854775808", "1 "}) {
    entry.externalData[1].second = bad;
    EXPECT_FALSE(externalRange(entry)) << bad;
  }
}

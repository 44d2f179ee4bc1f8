// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// .npy files in and out.
#include "npy.h"

#include <cstring>
#include <gtest/gtest.h>

namespace {

std::string raw(const std::string &header, const std::string &data,
                char major = 1) {
  std::string out = "\x93NUMPY";
  out += major;
  out += '\0';
  out += char(header.size() & 0xff);
  out += char(header.size() >> 8);
  if (major > 1)
    out += std::string(2, '\0');
  return out + header + data;
}

TEST(NpyTest, WhatNumPyWrites) {
  // numpy.save of arange(6, dtype=int16).reshape(2, 3), header as in 1.24.
  std::string header = "{'descr': '<i2', 'fortran_order': False, 'shape': "
                       "(2, 3), }";
  header.append(117 - header.size(), ' ');
  header += '\n';
  std::string data("\0\0\1\0\2\0\3\0\4\0\5\0", 12);
  auto array = parseNpy(raw(header, data), "a.npy");
  ASSERT_TRUE(array) << array.error();
  EXPECT_EQ(array->dtype, "i2");
  EXPECT_EQ(array->shape, (std::vector<int64_t>{2, 3}));
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(npyNumber(*array, i), i);
  EXPECT_EQ(formatNpy(*array), raw(header, data));
  EXPECT_TRUE(parseNpy(raw(header, data, 2), "a.npy"));
}

TEST(NpyTest, RoundTrips) {
  for (std::vector<int64_t> shape :
       {std::vector<int64_t>{}, {0}, {5}, {2, 1, 3}}) {
    NpyArray array{"f4", shape, {}};
    array.bytes.resize(size_t(array.elements() * 4));
    for (size_t i = 0; i < array.bytes.size(); ++i)
      array.bytes[i] = uint8_t(i);
    auto back = parseNpy(formatNpy(array), "x");
    ASSERT_TRUE(back) << back.error();
    EXPECT_EQ(back->shape, shape);
    EXPECT_EQ(back->bytes, array.bytes);
    EXPECT_EQ(formatNpy(array).find('\n') % 64, 63u);
  }
}

TEST(NpyTest, RefusesBadFiles) {
  auto header = [](const char *descr, const char *order, const char *shape) {
    return std::string("{'descr': ") + descr + ", 'fortran_order': " + order +
           ", 'shape': " + shape + ", }\n";
  };
  std::string good = header("'<f4'", "False", "(2,)"), data(8, 'x');
  ASSERT_TRUE(parseNpy(raw(good, data), "a"));
  std::string whole = raw(good, data);
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_FALSE(parseNpy(whole.substr(0, n), "a")) << n;
  std::string bad[] = {
      "",
      "PK",
      raw(good, data + "x"),
      raw(good, data, 4),
      raw(header("'>f4'", "False", "(2,)"), data),
      raw(header("'|O'", "False", "(2,)"), data),
      raw(header("'<f4'", "True", "(2,)"), data),
      raw(header("'<f4'", "False", "(-2,)"), data),
      raw(header("'<f4'", "False", "(4611686018427387905, 4)"), data),
      raw(header("'<f4'", "False", "(99999999999999999999,)"), data),
      raw(header("'<f4'", "False", "2"), data),
      raw(header("[('a', '<f4')]", "False", "(2,)"), data),
      raw("{'descr': '<f4', 'descr': '<f4', }\n", data),
      raw("{'descr': '<f4'\n", data),
      raw("", data)};
  for (const std::string &text : bad) {
    auto array = parseNpy(text, "a.npy");
    ASSERT_FALSE(array);
    EXPECT_NE(array.error().find("a.npy"), std::string::npos);
    EXPECT_EQ(array.error().find('\n'), std::string::npos);
  }
}

} // namespace

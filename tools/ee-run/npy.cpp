// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// .npy files. The header is a Python dictionary literal; only the form that
// NumPy itself writes is accepted.
#include "npy.h"

#include "ee/checked.h"
#include "ee/file.h"

#include <charconv>
#include <cmath>
#include <cstring>

using ee::Expected;
using ee::Failure;

static constexpr char magic[] = "\x93NUMPY";

int64_t NpyArray::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape)
    count *= extent;
  return count;
}

namespace {

/// A cursor over the header.
struct Header {
  std::string_view text;

  void blanks() {
    while (!text.empty() && (text[0] == ' ' || text[0] == '\n'))
      text.remove_prefix(1);
  }
  bool take(std::string_view token) {
    blanks();
    if (text.substr(0, token.size()) != token)
      return false;
    text.remove_prefix(token.size());
    return true;
  }
  bool quoted(std::string &value) {
    if (!take("'"))
      return false;
    size_t end = text.find('\'');
    if (end == std::string_view::npos)
      return false;
    value = text.substr(0, end);
    text.remove_prefix(end + 1);
    return true;
  }
  bool tuple(std::vector<int64_t> &values) {
    if (!take("("))
      return false;
    while (!take(")")) {
      blanks();
      int64_t value = 0;
      auto [end, error] =
          std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || value < 0 || values.size() == 32)
        return false;
      text.remove_prefix(size_t(end - text.data()));
      values.push_back(value);
      if (!take(",")) {
        if (!take(")"))
          return false;
        return true;
      }
    }
    return true;
  }
};

bool readHeader(Header header, std::string &descr, bool &fortran,
                std::vector<int64_t> &shape) {
  bool hasDescr = false, hasOrder = false, hasShape = false;
  if (!header.take("{"))
    return false;
  while (!header.take("}")) {
    std::string key;
    if (!header.quoted(key) || !header.take(":"))
      return false;
    if (key == "descr" && !hasDescr) {
      hasDescr = header.quoted(descr);
      if (!hasDescr)
        return false;
    } else if (key == "fortran_order" && !hasOrder) {
      hasOrder = true;
      fortran = header.take("True");
      if (!fortran && !header.take("False"))
        return false;
    } else if (key == "shape" && !hasShape) {
      hasShape = header.tuple(shape);
      if (!hasShape)
        return false;
    } else {
      return false;
    }
    if (!header.take(",") && header.text.substr(0, 1) != "}")
      return false;
  }
  header.blanks();
  return hasDescr && hasOrder && hasShape && header.text.empty();
}

} // namespace

Expected<NpyArray> parseNpy(std::string_view bytes, std::string_view what) {
  std::string name = ee::inQuotes(what);
  if (bytes.size() < 10 || std::memcmp(bytes.data(), magic, 6) != 0)
    return Failure{name + " is not a .npy file"};
  unsigned major = uint8_t(bytes[6]);
  if (major < 1 || major > 3)
    return Failure{name + " has .npy version " + std::to_string(major) +
                   ", accepted are 1 to 3"};
  size_t lengthBytes = major == 1 ? 2 : 4, length = 0;
  if (bytes.size() < 8 + lengthBytes)
    return Failure{name + " is cut short"};
  for (size_t i = 0; i < lengthBytes; ++i)
    length |= size_t(uint8_t(bytes[8 + i])) << (8 * i);
  size_t start = 8 + lengthBytes;
  if (length > (1 << 20) || !ee::rangeFits(start, length, bytes.size()))
    return Failure{name + " is cut short"};
  NpyArray array;
  std::string descr;
  bool fortran = false;
  if (!readHeader({bytes.substr(start, length)}, descr, fortran, array.shape))
    return Failure{name + " has a header that cannot be read"};
  if (fortran)
    return Failure{name + " is in Fortran order, C order is accepted"};
  static constexpr std::string_view accepted[] = {
      "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"};
  for (std::string_view dtype : accepted)
    if (descr.size() == 3 && (descr[0] == '<' || descr[0] == '|') &&
        descr.substr(1) == dtype)
      array.dtype = dtype;
  if (array.dtype.empty())
    return Failure{name + " has dtype " + ee::inQuotes(descr) +
                   ", accepted are little-endian floats, integers and bool"};
  uint64_t size = uint64_t(array.itemBytes());
  for (int64_t extent : array.shape) {
    auto next = ee::checkedMul(size, uint64_t(extent));
    if (!next)
      return Failure{name + " has a shape that is too large"};
    size = *next;
  }
  std::string_view data = bytes.substr(start + length);
  if (data.size() != size)
    return Failure{name + " has " + std::to_string(data.size()) +
                   " bytes of data, its shape needs " + std::to_string(size)};
  array.bytes.assign(data.begin(), data.end());
  return array;
}

std::string formatNpy(const NpyArray &array) {
  std::string shape;
  for (int64_t extent : array.shape)
    shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
  if (array.shape.size() == 1)
    shape += ',';
  char order = array.itemBytes() == 1 ? '|' : '<';
  std::string header = std::string("{'descr': '") + order + array.dtype +
                       "', 'fortran_order': False, 'shape': (" + shape + "), }";
  // Data starts at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string out(magic, 6);
  out += '\x01';
  out += '\x00';
  out += char(header.size() & 0xff);
  out += char(header.size() >> 8);
  out += header;
  out.append(array.bytes.begin(), array.bytes.end());
  return out;
}

template <typename T> static double load(const NpyArray &array, int64_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + i * int64_t(sizeof(T)), sizeof(T));
  return double(value);
}

/// A half: 1 sign bit, 5 of exponent, 10 of fraction.
static double loadHalf(const NpyArray &array, int64_t i) {
  uint16_t bits;
  std::memcpy(&bits, array.bytes.data() + i * 2, 2);
  int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                : std::ldexp(fraction, -24);
  return bits & 0x8000 ? -value : value;
}

double npyNumber(const NpyArray &array, int64_t i) {
  const std::string &t = array.dtype;
  if (t == "f2")
    return loadHalf(array, i);
  if (t == "f4")
    return load<float>(array, i);
  if (t == "f8")
    return load<double>(array, i);
  if (t == "i8")
    return load<int64_t>(array, i);
  if (t == "i4")
    return load<int32_t>(array, i);
  if (t == "i2")
    return load<int16_t>(array, i);
  if (t == "i1")
    return load<int8_t>(array, i);
  if (t == "u8")
    return load<uint64_t>(array, i);
  if (t == "u4")
    return load<uint32_t>(array, i);
  if (t == "u2")
    return load<uint16_t>(array, i);
  return load<uint8_t>(array, i);
}

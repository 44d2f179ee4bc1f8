// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Integer arithmetic. Overflow wraps; a division by zero gives all ones and
// its remainder the dividend, as GPUs do where PTX leaves it open.
#include "lanes.h"

#include <algorithm>
#include <type_traits>

namespace ee::gpu {
namespace {

template <typename T> using Unsigned = std::make_unsigned_t<T>;

/// The type that holds any product of two T.
template <typename T> struct Twice;
template <> struct Twice<uint16_t> {
  using type = uint32_t;
};
template <> struct Twice<int16_t> {
  using type = int32_t;
};
template <> struct Twice<uint32_t> {
  using type = uint64_t;
};
template <> struct Twice<int32_t> {
  using type = int64_t;
};
template <> struct Twice<uint64_t> {
  using type = unsigned __int128;
};
template <> struct Twice<int64_t> {
  using type = __int128;
};

template <typename T> T product(T a, T b) {
  // 16-bit operands would be promoted to int, whose overflow is undefined.
  return T(uint64_t(Unsigned<T>(a)) * uint64_t(Unsigned<T>(b)));
}
template <typename T> T sum(T a, T b) {
  return T(uint64_t(Unsigned<T>(a)) + uint64_t(Unsigned<T>(b)));
}
template <typename T> T difference(T a, T b) {
  return T(uint64_t(Unsigned<T>(a)) - uint64_t(Unsigned<T>(b)));
}
template <typename T> T highHalf(T a, T b) {
  using Wide = typename Twice<T>::type;
  return T((Wide(a) * Wide(b)) >> (8 * sizeof(T)));
}
template <typename T> T quotient(T a, T b) {
  if (b == 0)
    return T(-1);
  if (std::is_signed_v<T> && b == T(-1))
    return difference<T>(0, a);
  return T(a / b);
}
template <typename T> T remainder(T a, T b) {
  if (b == 0)
    return a;
  if (std::is_signed_v<T> && b == T(-1))
    return 0;
  return T(a % b);
}

template <typename T> void addInteger(LaneOps &ops, const std::string &type) {
  ops["add." + type] = op<T(T, T)>([](T a, T b) { return sum(a, b); });
  ops["sub." + type] = op<T(T, T)>([](T a, T b) { return difference(a, b); });
  ops["mul.lo." + type] = op<T(T, T)>([](T a, T b) { return product(a, b); });
  ops["mul.hi." + type] = op<T(T, T)>([](T a, T b) { return highHalf(a, b); });
  ops["mad.lo." + type] =
      op<T(T, T, T)>([](T a, T b, T c) { return sum(product(a, b), c); });
  ops["mad.hi." + type] =
      op<T(T, T, T)>([](T a, T b, T c) { return sum(highHalf(a, b), c); });
  ops["div." + type] = op<T(T, T)>([](T a, T b) { return quotient(a, b); });
  ops["rem." + type] = op<T(T, T)>([](T a, T b) { return remainder(a, b); });
  ops["min." + type] = op<T(T, T)>([](T a, T b) { return std::min(a, b); });
  ops["max." + type] = op<T(T, T)>([](T a, T b) { return std::max(a, b); });
}

template <typename T> void addSigned(LaneOps &ops, const std::string &type) {
  ops["neg." + type] = op<T(T)>([](T a) { return difference<T>(0, a); });
  ops["abs." + type] =
      op<T(T)>([](T a) { return a < 0 ? difference<T>(0, a) : a; });
}

template <typename T> void addWide(LaneOps &ops, const std::string &type) {
  using W = typename Twice<T>::type;
  ops["mul.wide." + type] =
      op<W(T, T)>([](T a, T b) { return product<W>(W(a), W(b)); });
  ops["mad.wide." + type] = op<W(T, T, W)>(
      [](T a, T b, W c) { return sum<W>(product<W>(W(a), W(b)), c); });
}

/// c plus the dot product of the four bytes of a and b.
template <typename A, typename B>
int32_t dot4(uint32_t a, uint32_t b, int32_t c) {
  uint32_t total = uint32_t(c);
  for (int i = 0; i < 4; ++i)
    total += uint32_t(int32_t(A(a >> (8 * i))) * int32_t(B(b >> (8 * i))));
  return int32_t(total);
}

void addDots(LaneOps &ops) {
  using Dot = int32_t(uint32_t, uint32_t, int32_t);
  ops["dp4a.u32.u32"] = op<Dot>([](uint32_t a, uint32_t b, int32_t c) {
    return dot4<uint8_t, uint8_t>(a, b, c);
  });
  ops["dp4a.u32.s32"] = op<Dot>([](uint32_t a, uint32_t b, int32_t c) {
    return dot4<uint8_t, int8_t>(a, b, c);
  });
  ops["dp4a.s32.u32"] = op<Dot>([](uint32_t a, uint32_t b, int32_t c) {
    return dot4<int8_t, uint8_t>(a, b, c);
  });
  ops["dp4a.s32.s32"] = op<Dot>([](uint32_t a, uint32_t b, int32_t c) {
    return dot4<int8_t, int8_t>(a, b, c);
  });
}

} // namespace

void addIntegerOps(LaneOps &ops) {
  addInteger<uint16_t>(ops, "u16");
  addInteger<int16_t>(ops, "s16");
  addInteger<uint32_t>(ops, "u32");
  addInteger<int32_t>(ops, "s32");
  addInteger<uint64_t>(ops, "u64");
  addInteger<int64_t>(ops, "s64");
  addSigned<int16_t>(ops, "s16");
  addSigned<int32_t>(ops, "s32");
  addSigned<int64_t>(ops, "s64");
  addWide<uint16_t>(ops, "u16");
  addWide<int16_t>(ops, "s16");
  addWide<uint32_t>(ops, "u32");
  addWide<int32_t>(ops, "s32");
  addDots(ops);
}

} // namespace ee::gpu

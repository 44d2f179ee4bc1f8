// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// setp and selp. Ordered comparisons of floats are false where an operand is
// NaN; those whose name ends in u are true.
#include "lanes.h"

#include <array>

namespace ee::gpu {
namespace {

enum class Compare { Eq, Ne, Lt, Le, Gt, Ge };
enum class Combine { None, And, Or, Xor };

template <Compare C, typename T> bool holds(T a, T b) {
  if constexpr (C == Compare::Eq)
    return a == b;
  else if constexpr (C == Compare::Ne)
    return a != b;
  else if constexpr (C == Compare::Lt)
    return a < b;
  else if constexpr (C == Compare::Le)
    return a <= b;
  else if constexpr (C == Compare::Gt)
    return a > b;
  else
    return a >= b;
}

template <typename T> auto comparable(T value) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat>)
    return toFloat(value);
  else
    return value;
}

template <typename T, typename Test>
void addForms(LaneOps &ops, const std::string &test, const std::string &type,
              Test) {
  using Plain = bool(T, T);
  using Joined = bool(T, T, bool);
  const std::string head = "setp." + test;
  ops[head + "." + type] = op<Plain>([](T a, T b) { return Test()(a, b); });
  ops[head + ".and." + type] =
      op<Joined>([](T a, T b, bool p) { return bool(Test()(a, b) & p); });
  ops[head + ".or." + type] =
      op<Joined>([](T a, T b, bool p) { return bool(Test()(a, b) | p); });
  ops[head + ".xor." + type] =
      op<Joined>([](T a, T b, bool p) { return bool(Test()(a, b) ^ p); });
}

template <typename T, Compare C>
void addOrdered(LaneOps &ops, const std::string &test,
                const std::string &type) {
  addForms<T>(ops, test, type, [](T a, T b) {
    auto x = comparable(a), y = comparable(b);
    // "ne" is the one comparison of C++ that NaN makes true.
    return holds<C>(x, y) && (C != Compare::Ne || (x == x && y == y));
  });
}

template <typename T, Compare C>
void addUnordered(LaneOps &ops, const std::string &test,
                  const std::string &type) {
  addForms<T>(ops, test, type, [](T a, T b) {
    auto x = comparable(a), y = comparable(b);
    return x != x || y != y || holds<C>(x, y);
  });
}

template <typename T>
void addAllOrdered(LaneOps &ops, const std::string &type) {
  addOrdered<T, Compare::Eq>(ops, "eq", type);
  addOrdered<T, Compare::Ne>(ops, "ne", type);
  addOrdered<T, Compare::Lt>(ops, "lt", type);
  addOrdered<T, Compare::Le>(ops, "le", type);
  addOrdered<T, Compare::Gt>(ops, "gt", type);
  addOrdered<T, Compare::Ge>(ops, "ge", type);
}

template <typename T>
void addUnsignedNames(LaneOps &ops, const std::string &type) {
  addOrdered<T, Compare::Lt>(ops, "lo", type);
  addOrdered<T, Compare::Le>(ops, "ls", type);
  addOrdered<T, Compare::Gt>(ops, "hi", type);
  addOrdered<T, Compare::Ge>(ops, "hs", type);
}

template <typename T> void addFloat(LaneOps &ops, const std::string &type) {
  addAllOrdered<T>(ops, type);
  addUnordered<T, Compare::Eq>(ops, "equ", type);
  addUnordered<T, Compare::Ne>(ops, "neu", type);
  addUnordered<T, Compare::Lt>(ops, "ltu", type);
  addUnordered<T, Compare::Le>(ops, "leu", type);
  addUnordered<T, Compare::Gt>(ops, "gtu", type);
  addUnordered<T, Compare::Ge>(ops, "geu", type);
  addForms<T>(ops, "num", type, [](T a, T b) {
    auto x = comparable(a), y = comparable(b);
    return x == x && y == y;
  });
  addForms<T>(ops, "nan", type, [](T a, T b) {
    auto x = comparable(a), y = comparable(b);
    return x != x || y != y;
  });
}

template <typename T> void addBits(LaneOps &ops, const std::string &type) {
  addOrdered<T, Compare::Eq>(ops, "eq", type);
  addOrdered<T, Compare::Ne>(ops, "ne", type);
}

template <typename T> void addSelect(LaneOps &ops, const char *type) {
  ops[std::string("selp.") + type] =
      op<T(T, T, bool)>([](T a, T b, bool p) { return p ? a : b; });
}

} // namespace

void addCompareOps(LaneOps &ops) {
  addAllOrdered<uint16_t>(ops, "u16");
  addAllOrdered<int16_t>(ops, "s16");
  addAllOrdered<uint32_t>(ops, "u32");
  addAllOrdered<int32_t>(ops, "s32");
  addAllOrdered<uint64_t>(ops, "u64");
  addAllOrdered<int64_t>(ops, "s64");
  addUnsignedNames<uint16_t>(ops, "u16");
  addUnsignedNames<uint32_t>(ops, "u32");
  addUnsignedNames<uint64_t>(ops, "u64");
  addBits<uint16_t>(ops, "b16");
  addBits<uint32_t>(ops, "b32");
  addBits<uint64_t>(ops, "b64");
  addFloat<float>(ops, "f32");
  addFloat<double>(ops, "f64");
  addFloat<Half>(ops, "f16");
  addFloat<BFloat>(ops, "bf16");
  for (const char *type : {"b16", "u16", "s16", "f16", "bf16"})
    addSelect<uint16_t>(ops, type);
  for (const char *type : {"b32", "u32", "s32", "f32"})
    addSelect<uint32_t>(ops, type);
  for (const char *type : {"b64", "u64", "s64", "f64"})
    addSelect<uint64_t>(ops, type);
}

} // namespace ee::gpu

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Moves, logic, shifts, bit fields and byte permutes.
#include "lanes.h"

#include <algorithm>

namespace ee::gpu {
namespace {

template <typename T> void addLogic(LaneOps &ops, const std::string &type) {
  ops["mov." + type] = op<T(T)>([](T a) { return a; });
  ops["and." + type] = op<T(T, T)>([](T a, T b) { return T(a & b); });
  ops["or." + type] = op<T(T, T)>([](T a, T b) { return T(a | b); });
  ops["xor." + type] = op<T(T, T)>([](T a, T b) { return T(a ^ b); });
  ops["not." + type] = op<T(T)>([](T a) { return T(~a); });
  ops["shl." + type] = op<T(T, uint32_t)>(
      [](T a, uint32_t by) { return by >= 8 * sizeof(T) ? T(0) : T(a << by); });
}

template <typename T> void addMove(LaneOps &ops, const std::string &type) {
  ops["mov." + type] = op<T(T)>([](T a) { return a; });
}

/// Shift right; signed types fill with their sign. `by` is clamped.
template <typename T> void addShift(LaneOps &ops, const std::string &type) {
  ops["shr." + type] = op<T(T, uint32_t)>([](T a, uint32_t by) {
    constexpr uint32_t width = 8 * sizeof(T);
    if (by >= width)
      return std::is_signed_v<T> && a < 0 ? T(-1) : T(0);
    return T(a >> by);
  });
}

template <typename T> T extract(T value, uint32_t start, uint32_t length) {
  using U = std::make_unsigned_t<T>;
  constexpr uint32_t width = 8 * sizeof(T);
  start &= 255, length &= 255;
  if (length == 0)
    return 0;
  // Bits beyond the value are copies of its last bit that lies in the field.
  uint32_t last = std::min(start + length - 1, width - 1);
  bool negative = std::is_signed_v<T> && (U(value) >> last & 1);
  U bits = start >= width ? 0 : U(value) >> start;
  uint32_t have = start >= width ? 0 : std::min(length, width - start);
  U keep = have >= width ? ~U(0) : (U(1) << have) - 1;
  bits &= keep;
  return T(negative ? bits | ~keep : bits);
}

template <typename T>
T insert(T field, T into, uint32_t start, uint32_t length) {
  constexpr uint32_t width = 8 * sizeof(T);
  start &= 255, length &= 255;
  if (start >= width || length == 0)
    return into;
  length = std::min(length, width - start);
  T keep = (length >= width ? ~T(0) : (T(1) << length) - 1) << start;
  return (into & ~keep) | ((field << start) & keep);
}

template <typename T>
void addCounts(LaneOps &ops, const std::string &unsignedType) {
  ops["popc.b" + unsignedType] =
      op<uint32_t(T)>([](T a) { return uint32_t(std::popcount(a)); });
  ops["clz.b" + unsignedType] =
      op<uint32_t(T)>([](T a) { return uint32_t(std::countl_zero(a)); });
  ops["brev.b" + unsignedType] = op<T(T)>([](T a) {
    T r = 0;
    for (uint32_t i = 0; i < 8 * sizeof(T); ++i)
      r |= T(a >> i & 1) << (8 * sizeof(T) - 1 - i);
    return r;
  });
  ops["bfe.u" + unsignedType] = op<T(T, uint32_t, uint32_t)>(
      [](T a, uint32_t s, uint32_t n) { return extract<T>(a, s, n); });
  using S = std::make_signed_t<T>;
  ops["bfe.s" + unsignedType] = op<S(S, uint32_t, uint32_t)>(
      [](S a, uint32_t s, uint32_t n) { return extract<S>(a, s, n); });
  ops["bfi.b" + unsignedType] = op<T(T, T, uint32_t, uint32_t)>(
      [](T a, T b, uint32_t s, uint32_t n) { return insert<T>(a, b, s, n); });
}

/// A byte of the result for each nibble of `select`: bits 0-2 pick one of the
/// eight bytes of {b, a}, bit 3 spreads its sign.
uint32_t permute(uint32_t a, uint32_t b, uint32_t select) {
  uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t nibble = select >> (4 * i);
    uint32_t byte = uint32_t(bytes >> (8 * (nibble & 7))) & 0xff;
    if (nibble & 8)
      byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

void addWordOps(LaneOps &ops) {
  using Three = uint32_t(uint32_t, uint32_t, uint32_t);
  ops["prmt.b32"] = op<Three>([](uint32_t a, uint32_t b, uint32_t select) {
    return permute(a, b, select);
  });
  // Funnel shifts of the 64 bits {b, a}.
  ops["shf.l.wrap.b32"] = op<Three>([](uint32_t a, uint32_t b, uint32_t by) {
    return uint32_t(((uint64_t(b) << 32 | a) << (by & 31)) >> 32);
  });
  ops["shf.r.wrap.b32"] = op<Three>([](uint32_t a, uint32_t b, uint32_t by) {
    return uint32_t((uint64_t(b) << 32 | a) >> (by & 31));
  });
  ops["shf.l.clamp.b32"] = op<Three>([](uint32_t a, uint32_t b, uint32_t by) {
    return uint32_t(((uint64_t(b) << 32 | a) << std::min(by, 32u)) >> 32);
  });
  ops["shf.r.clamp.b32"] = op<Three>([](uint32_t a, uint32_t b, uint32_t by) {
    return uint32_t((uint64_t(b) << 32 | a) >> std::min(by, 32u));
  });
  ops["lop3.b32"] = op<uint32_t(uint32_t, uint32_t, uint32_t, uint32_t)>(
      [](uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
        uint32_t r = 0;
        for (uint32_t row = 0; row < 8; ++row)
          if (table >> row & 1)
            r |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
        return r;
      });
}

template <uint32_t (*Combine)(uint32_t, uint32_t)>
void predicates(Lanes &lanes, const Instruction &in, uint32_t mask) {
  lanes.setPredicate(
      in.q, Combine(lanes.predicate(in.p), lanes.predicate(in.r)), mask);
}

void addPredicateLogic(LaneOps &ops) {
  using Word = uint32_t;
  ops["and.pred"] = {predicates<+[](Word a, Word b) -> Word { return a & b; }>,
                     "ppp"};
  ops["or.pred"] = {predicates<+[](Word a, Word b) -> Word { return a | b; }>,
                    "ppp"};
  ops["xor.pred"] = {predicates<+[](Word a, Word b) -> Word { return a ^ b; }>,
                     "ppp"};
  ops["not.pred"] = op<bool(bool)>([](bool a) { return !a; });
  ops["mov.pred"] = op<bool(bool)>([](bool a) { return a; });
}

} // namespace

void addBitOps(LaneOps &ops) {
  addLogic<uint16_t>(ops, "b16");
  addLogic<uint32_t>(ops, "b32");
  addLogic<uint64_t>(ops, "b64");
  for (const char *type : {"u16", "s16", "f16", "bf16"})
    addMove<uint16_t>(ops, type);
  for (const char *type : {"u32", "s32", "f32", "f16x2", "bf16x2"})
    addMove<uint32_t>(ops, type);
  for (const char *type : {"u64", "s64", "f64"})
    addMove<uint64_t>(ops, type);
  addShift<uint16_t>(ops, "u16");
  addShift<int16_t>(ops, "s16");
  addShift<uint16_t>(ops, "b16");
  addShift<uint32_t>(ops, "u32");
  addShift<int32_t>(ops, "s32");
  addShift<uint32_t>(ops, "b32");
  addShift<uint64_t>(ops, "u64");
  addShift<int64_t>(ops, "s64");
  addShift<uint64_t>(ops, "b64");
  addCounts<uint32_t>(ops, "32");
  addCounts<uint64_t>(ops, "64");
  addWordOps(ops);
  addPredicateLogic(ops);
}

} // namespace ee::gpu

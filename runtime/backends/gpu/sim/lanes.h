// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Instructions that work on registers only: a C++ function on scalars becomes
// a loop over the lanes of a warp. Included by the files that define them,
// which are compiled for x86-64-v3 and without contraction: with FMA
// instructions, but only where PTX says fma.
#ifndef EE_GPU_SIM_LANES_H
#define EE_GPU_SIM_LANES_H

#include "program.h"

#include <bit>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace ee::gpu {

/// What an instruction sees of its warp.
struct Lanes {
  std::byte *registers = nullptr;
  const std::byte *constants = nullptr;
  uint32_t *predicates = nullptr;
  const Ref *refs = nullptr; // Kernel::refs

  template <typename T> T *out(Ref ref) const {
    return reinterpret_cast<T *>(registers + ref.offset());
  }
  template <typename T> const T *in(Ref ref) const {
    return reinterpret_cast<const T *>(
        (ref.constant() ? constants : registers) + ref.offset());
  }
  uint32_t predicate(PredicateRef ref) const {
    return predicates[ref.index] ^ (ref.inverted ? allLanes : 0);
  }
  void setPredicate(PredicateRef ref, uint32_t value, uint32_t mask) const {
    uint32_t &p = predicates[ref.index];
    p = (p & ~mask) | (value & mask);
  }
};

/// How an opcode is carried out. `shape` has a letter for each operand, the
/// result first: 4 and 8 are registers of so many bytes a lane, p a predicate.
struct LaneOp {
  LaneFunction run;
  std::string shape;
};
using LaneOps = std::unordered_map<std::string, LaneOp>;

/// All opcodes of register instructions, by their full text: a modifier that
/// is not listed is an opcode that is not known.
const LaneOps &laneOps();

void addFloatOps(LaneOps &ops);
void addIntegerOps(LaneOps &ops);
void addBitOps(LaneOps &ops);
void addCompareOps(LaneOps &ops);
void addIntegerConversions(LaneOps &ops);
void addFloatConversions(LaneOps &ops);

/// 16-bit floats as registers hold them.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

inline float toFloat(Half h) {
  return static_cast<float>(std::bit_cast<_Float16>(h.bits));
}
inline float toFloat(BFloat b) {
  return std::bit_cast<float>(uint32_t(b.bits) << 16);
}
template <typename T> T roundTo(float value);
template <> inline Half roundTo<Half>(float value) {
  if (value != value)
    return {0x7fff}; // the NaN of PTX conversions
  return {std::bit_cast<uint16_t>(static_cast<_Float16>(value))};
}
template <> inline BFloat roundTo<BFloat>(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value != value)
    return {0x7fff};
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

namespace detail {

/// The element of a register that holds a T. Narrow signed integers lie sign
/// extended where they are 8 bits (as a converted byte in a wider register
/// does) and zero extended where they are 16.
template <typename T>
using Stored =
    std::conditional_t<std::is_same_v<T, float> || std::is_same_v<T, double>, T,
                       std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>>;

template <typename T> T load(Stored<T> value) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat>)
    return T{uint16_t(value)};
  else
    return static_cast<T>(value);
}
template <typename T> Stored<T> store(T value) {
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat>)
    return value.bits;
  else if constexpr (std::is_same_v<T, int16_t>)
    return uint16_t(value);
  else if constexpr (std::is_same_v<T, int8_t>)
    return uint32_t(int32_t(value));
  else
    return static_cast<Stored<T>>(value);
}

template <typename T> char shapeOf() {
  return std::is_same_v<T, bool> ? 'p' : sizeof(T) == 8 ? '8' : '4';
}

/// An operand of type T at one lane.
template <typename T> struct Source {
  const Stored<T> *lanes;
  T operator[](int lane) const { return load<T>(lanes[lane]); }
};
template <> struct Source<bool> {
  uint32_t mask;
  bool operator[](int lane) const { return mask >> lane & 1; }
};

template <typename T>
Source<T> source(const Lanes &lanes, const Instruction &in, Ref ref) {
  if constexpr (std::is_same_v<T, bool>)
    return {lanes.predicate(in.p)};
  else
    return {lanes.in<Stored<T>>(ref)};
}

template <typename D, typename... S> struct Signature;
template <typename D, typename... S> struct Signature<D(S...)> {
  template <typename Fn>
  static void run(Lanes &lanes, const Instruction &in, uint32_t mask) {
    const Ref refs[] = {in.a, in.b, in.c, in.e};
    apply<Fn>(lanes, in, mask, refs, std::index_sequence_for<S...>());
  }

  template <typename Fn, size_t... I>
  static void apply(Lanes &lanes, const Instruction &in, uint32_t mask,
                    const Ref *refs, std::index_sequence<I...>) {
    auto each = [&, ... from = source<S>(lanes, in, refs[I])](int lane) {
      return Fn()(from[lane]...);
    };
    if constexpr (std::is_same_v<D, bool>) {
      uint32_t result = 0;
      for (int lane = 0; lane < warpLanes; ++lane)
        result |= uint32_t(each(lane)) << lane;
      lanes.setPredicate(in.q, result, mask);
    } else {
      auto *out = lanes.out<Stored<D>>(in.d);
      if (mask == allLanes) {
        // Registers are the same or apart, so lanes do not depend on another.
#pragma clang loop vectorize(assume_safety) interleave(disable)
        for (int lane = 0; lane < warpLanes; ++lane)
          out[lane] = store<D>(each(lane));
        return;
      }
      for (; mask; mask &= mask - 1) {
        int lane = std::countr_zero(mask);
        out[lane] = store<D>(each(lane));
      }
    }
  }

  static std::string shape() { return {shapeOf<D>(), shapeOf<S>()...}; }
};

} // namespace detail

/// The LaneOp of a stateless function on scalars: op<int(int, int)>([](...)).
template <typename Sig, typename Fn> LaneOp op(Fn) {
  using Lifted = detail::Signature<Sig>;
  return {&Lifted::template run<Fn>, Lifted::shape()};
}

} // namespace ee::gpu

#endif // EE_GPU_SIM_LANES_H

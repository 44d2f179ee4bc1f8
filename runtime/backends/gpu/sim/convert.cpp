// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// cvt. Floats become integers by clamping to the range of the integer, and NaN
// by zero, as PTX says.
#include "lanes.h"

#include <cmath>
#include <limits>

namespace ee::gpu {
namespace {

template <typename T> struct Named {
  using type = T;
  const char *name;
};

template <typename Fn> void forIntegers(Fn fn) {
  fn(Named<uint8_t>{"u8"}), fn(Named<int8_t>{"s8"});
  fn(Named<uint16_t>{"u16"}), fn(Named<int16_t>{"s16"});
  fn(Named<uint32_t>{"u32"}), fn(Named<int32_t>{"s32"});
  fn(Named<uint64_t>{"u64"}), fn(Named<int64_t>{"s64"});
}

template <typename F> auto widened(F value) {
  if constexpr (std::is_same_v<F, Half> || std::is_same_v<F, BFloat>)
    return toFloat(value);
  else
    return value;
}

template <typename I, typename F> I clampTo(F value) {
  // Both bounds are powers of two (or zero), so they are exact as F.
  const F low = static_cast<F>(std::numeric_limits<I>::min());
  const F high = std::ldexp(F(1), std::numeric_limits<I>::digits);
  if (value != value)
    return 0;
  if (value < low)
    return std::numeric_limits<I>::min();
  if (value >= high)
    return std::numeric_limits<I>::max();
  return static_cast<I>(value);
}

enum class Round { Zero, Nearest, Down, Up };
template <Round R, typename F> F rounded(F value) {
  if constexpr (R == Round::Zero)
    return std::trunc(value);
  else if constexpr (R == Round::Nearest)
    return std::nearbyint(value);
  else if constexpr (R == Round::Down)
    return std::floor(value);
  else
    return std::ceil(value);
}

template <typename F, Round R>
void addRounding(LaneOps &ops, const std::string &type, const char *round) {
  forIntegers([&](auto named) {
    using I = typename decltype(named)::type;
    ops[std::string("cvt.") + round + "." + named.name + "." + type] =
        op<I(F)>([](F v) { return clampTo<I>(rounded<R>(widened(v))); });
  });
  if constexpr (std::is_same_v<F, float> || std::is_same_v<F, double>)
    ops[std::string("cvt.") + round + "." + type + "." + type] =
        op<F(F)>([](F v) { return rounded<R>(v); });
}

template <typename F> void addToIntegers(LaneOps &ops, const char *type) {
  addRounding<F, Round::Zero>(ops, type, "rzi");
  addRounding<F, Round::Nearest>(ops, type, "rni");
  addRounding<F, Round::Down>(ops, type, "rmi");
  addRounding<F, Round::Up>(ops, type, "rpi");
}

template <typename F> void addFromIntegers(LaneOps &ops, const char *type) {
  forIntegers([&](auto named) {
    using I = typename decltype(named)::type;
    ops[std::string("cvt.rn.") + type + "." + named.name] =
        op<F(I)>([](I v) { return static_cast<F>(v); });
  });
}

template <typename H> void addHalf(LaneOps &ops, const std::string &type) {
  ops["cvt.f32." + type] = op<float(H)>([](H v) { return toFloat(v); });
  ops["cvt.f64." + type] =
      op<double(H)>([](H v) { return double(toFloat(v)); });
  ops["cvt.rn." + type + ".f32"] =
      op<H(float)>([](float v) { return roundTo<H>(v); });
  // The first source becomes the upper half.
  ops["cvt.rn." + type + "x2.f32"] =
      op<uint32_t(float, float)>([](float high, float low) {
        return uint32_t(roundTo<H>(high).bits) << 16 | roundTo<H>(low).bits;
      });
}

} // namespace

void addIntegerConversions(LaneOps &ops) {
  forIntegers([&](auto to) {
    forIntegers([&](auto from) {
      using D = typename decltype(to)::type;
      using S = typename decltype(from)::type;
      ops[std::string("cvt.") + to.name + "." + from.name] =
          op<D(S)>([](S v) { return static_cast<D>(v); });
    });
  });
}

void addFloatConversions(LaneOps &ops) {
  addToIntegers<float>(ops, "f32");
  addToIntegers<double>(ops, "f64");
  addToIntegers<Half>(ops, "f16");
  addToIntegers<BFloat>(ops, "bf16");
  addFromIntegers<float>(ops, "f32");
  addFromIntegers<double>(ops, "f64");
  addHalf<Half>(ops, "f16");
  addHalf<BFloat>(ops, "bf16");
  ops["cvt.f64.f32"] = op<double(float)>([](float v) { return double(v); });
  ops["cvt.rn.f32.f64"] = op<float(double)>([](double v) { return float(v); });
}

const LaneOps &laneOps() {
  static const LaneOps table = [] {
    LaneOps ops;
    addFloatOps(ops);
    addIntegerOps(ops);
    addBitOps(ops);
    addCompareOps(ops);
    addIntegerConversions(ops);
    addFloatConversions(ops);
    return ops;
  }();
  return table;
}

} // namespace ee::gpu

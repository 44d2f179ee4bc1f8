// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Floating point arithmetic with the host's IEEE operations. Only forms that
// round to nearest are here: what PTX leaves to the device (.approx, .ftz) has
// no bits that a simulator could give.
#include "lanes.h"

#include <cmath>
#include <limits>

namespace ee::gpu {
namespace {

template <typename T> T canonicalNan() {
  if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<float>(0x7fffffffu);
  else
    return std::bit_cast<double>(0x7fffffff'ffffffffull);
}

/// PTX's min and max: -0 is less than +0; a number wins over NaN, and NaN over
/// a number where the opcode says .NaN.
template <typename T, bool Max, bool NanWins> T extreme(T a, T b) {
  if (a != a || b != b) {
    if (NanWins || (a != a && b != b))
      return canonicalNan<T>();
    return a != a ? b : a;
  }
  if (a == b)
    return std::signbit(a) == Max ? b : a;
  return (a > b) == Max ? a : b;
}

template <typename T> void addIeee(LaneOps &ops, const std::string &type) {
  // .rn is the default; ptxas may contract where it is not written.
  for (const std::string round : {".rn.", "."}) {
    ops["add" + round + type] = op<T(T, T)>([](T a, T b) { return a + b; });
    ops["sub" + round + type] = op<T(T, T)>([](T a, T b) { return a - b; });
    ops["mul" + round + type] = op<T(T, T)>([](T a, T b) { return a * b; });
  }
  ops["fma.rn." + type] =
      op<T(T, T, T)>([](T a, T b, T c) { return std::fma(a, b, c); });
  ops["div.rn." + type] = op<T(T, T)>([](T a, T b) { return a / b; });
  ops["sqrt.rn." + type] = op<T(T)>([](T a) { return std::sqrt(a); });
  ops["rcp.rn." + type] = op<T(T)>([](T a) { return T(1) / a; });
  ops["neg." + type] = op<T(T)>([](T a) { return -a; });
  ops["abs." + type] = op<T(T)>([](T a) { return std::fabs(a); });
  ops["copysign." + type] =
      op<T(T, T)>([](T sign, T value) { return std::copysign(value, sign); });
  ops["min." + type] =
      op<T(T, T)>([](T a, T b) { return extreme<T, false, false>(a, b); });
  ops["max." + type] =
      op<T(T, T)>([](T a, T b) { return extreme<T, true, false>(a, b); });
  ops["testp.finite." + type] =
      op<bool(T)>([](T a) { return bool(std::isfinite(a)); });
  ops["testp.infinite." + type] =
      op<bool(T)>([](T a) { return bool(std::isinf(a)); });
  ops["testp.notanumber." + type] = op<bool(T)>([](T a) { return a != a; });
  ops["testp.number." + type] = op<bool(T)>([](T a) { return a == a; });
}

/// `value`, or its neighbour with an odd last bit where `rest` was rounded
/// away: a later rounding to half the bits or fewer is then the right one.
template <typename F, typename Bits> F toOdd(F value, double rest) {
  Bits bits = std::bit_cast<Bits>(value);
  if (rest == 0 || bits & 1 || !std::isfinite(value) || rest != rest)
    return value;
  bool outwards = value == 0 || (rest > 0) == (value > 0);
  bits = outwards ? bits + 1 : bits - 1;
  return std::copysign(std::bit_cast<F>(bits), value == 0 ? F(rest) : value);
}

template <typename H> H fma16(H a, H b, H c) {
  // The product is exact; Knuth's sum gives what the addition lost.
  double p = double(toFloat(a)) * double(toFloat(b)), q = toFloat(c);
  double sum = p + q, back = sum - p;
  double lost = (p - (sum - back)) + (q - back);
  double odd = toOdd<double, uint64_t>(sum, std::isfinite(sum) ? lost : 0);
  float near = float(odd);
  return roundTo<H>(toOdd<float, uint32_t>(near, odd - double(near)));
}

template <typename H> H signed16(H a, uint16_t clear, uint16_t flip) {
  return {uint16_t((a.bits & ~clear) ^ flip)};
}

template <typename H> void addHalf(LaneOps &ops, const std::string &type) {
  // A sum, difference or product in float rounds to the right 16 bits.
  for (const std::string round : {".rn.", "."}) {
    ops["add" + round + type] = op<H(H, H)>(
        [](H a, H b) { return roundTo<H>(toFloat(a) + toFloat(b)); });
    ops["sub" + round + type] = op<H(H, H)>(
        [](H a, H b) { return roundTo<H>(toFloat(a) - toFloat(b)); });
    ops["mul" + round + type] = op<H(H, H)>(
        [](H a, H b) { return roundTo<H>(toFloat(a) * toFloat(b)); });
  }
  ops["fma.rn." + type] =
      op<H(H, H, H)>([](H a, H b, H c) { return fma16(a, b, c); });
  ops["neg." + type] = op<H(H)>([](H a) { return signed16(a, 0, 0x8000); });
  ops["abs." + type] = op<H(H)>([](H a) { return signed16(a, 0x8000, 0); });
  ops["min." + type] = op<H(H, H)>([](H a, H b) {
    return roundTo<H>(extreme<float, false, false>(toFloat(a), toFloat(b)));
  });
  ops["max." + type] = op<H(H, H)>([](H a, H b) {
    return roundTo<H>(extreme<float, true, false>(toFloat(a), toFloat(b)));
  });
}

} // namespace

void addFloatOps(LaneOps &ops) {
  addIeee<float>(ops, "f32");
  addIeee<double>(ops, "f64");
  ops["min.NaN.f32"] = op<float(float, float)>(
      [](float a, float b) { return extreme<float, false, true>(a, b); });
  ops["max.NaN.f32"] = op<float(float, float)>(
      [](float a, float b) { return extreme<float, true, true>(a, b); });
  addHalf<Half>(ops, "f16");
  addHalf<BFloat>(ops, "bf16");
}

} // namespace ee::gpu

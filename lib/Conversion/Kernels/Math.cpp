// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementary functions, so that kernels need no libm and give the same bits at
// any vector width. Coefficients are minimax fits made for these intervals.

#include "AdaptiveDialect/Conversion/Kernels/Math.h"
#include "AdaptiveDialect/Conversion/Kernels/Builder.h"

#include <limits>

using namespace mlir;
using namespace adaptive::kernels;

/// c[0] + x c[1] + ... by Horner's rule with fused steps.
static Value polynomial(Kernel &k, Value x, ArrayRef<float> c) {
  Value sum = k.like(x, c.back());
  for (float coefficient : llvm::reverse(c.drop_back()))
    sum = k.fma(sum, x, k.like(x, coefficient));
  return sum;
}

static Type intTypeLike(Kernel &k, Value x) {
  return shapedLike(x.getType(), k.i32);
}

Value adaptive::kernels::emitExp(Kernel &k, Value x) {
  Type ints = intTypeLike(k, x);
  // Comparisons that a NaN fails, so that it passes through.
  Value low = k.like(x, -104.0f), high = k.like(x, 89.0f);
  x = k.select(k.cmp(Cmp::LT, x, low), low, x);
  x = k.select(k.cmp(Cmp::GT, x, high), high, x);
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low
  // bits.
  Value magic = k.like(x, 12582912.0f);
  Value shifted = k.fma(x, k.like(x, 1.44269502f), magic);
  Value n = k.sub(shifted, magic);
  Value r = k.fma(n, k.like(x, -0.693359375f), x);
  r = k.fma(n, k.like(x, 0.000212194442f), r);
  Value q = polynomial(k, r,
                       {0.5f, 0.166666672f, 0.041666273f, 0.00833326578f,
                        0.00139458198f, 0.000199176269f});
  Value p = k.add(k.fma(k.mul(r, r), q, r), k.like(x, 1.0f));
  // 2^n in two factors: n reaches from -150 to 128.
  Value exponent = k.sub(k.bitcast(shifted, ints), k.bitcast(magic, ints));
  Value half = k.ashr(exponent, 1);
  auto power = [&](Value e) {
    return k.bitcast(k.shl(k.add(e, 127), 23), x.getType());
  };
  return k.mul(k.mul(p, power(half)), power(k.sub(exponent, half)));
}

Value adaptive::kernels::emitLog(Kernel &k, Value x) {
  Type ints = intTypeLike(k, x);
  constexpr float inf = std::numeric_limits<float>::infinity();
  Value tiny = k.cmp(Cmp::LT, x, k.like(x, std::numeric_limits<float>::min()));
  Value scaled = k.select(tiny, k.mul(x, k.like(x, 8388608.0f)), x);
  Value bits = k.bitcast(scaled, ints);
  // Subtracting the bits of sqrt(1/2) makes the exponent count from there, so
  // that the mantissa lies in [sqrt(1/2), sqrt(2)).
  Value offset = k.sub(bits, k.constant(ints, int64_t(0x3f3504f3)));
  Value e = k.ashr(offset, 23);
  Value m = k.bitcast(k.sub(bits, k.shl(e, 23)), x.getType());
  Value n = k.sitofp(
      k.sub(e, k.select(tiny, k.constant(ints, int64_t(23)), k.zero(ints))));
  Value f = k.sub(m, k.like(x, 1.0f));
  Value q = polynomial(k, f,
                       {0.333333105f, -0.249999866f, 0.200022191f,
                        -0.166692451f, 0.142187804f, -0.123844944f,
                        0.118723094f, -0.117887996f, 0.0691557825f});
  Value square = k.mul(f, f);
  Value y = k.mul(k.mul(f, square), q);
  y = k.fma(n, k.like(x, -0.000212194442f), y);
  y = k.fma(square, k.like(x, -0.5f), y);
  y = k.fma(n, k.like(x, 0.693359375f), k.add(f, y));
  Value zero = k.like(x, 0.0f);
  y = k.select(k.cmp(Cmp::EQ, x, zero), k.like(x, -inf), y);
  y = k.select(k.cmp(Cmp::EQ, x, k.like(x, inf)), x, y);
  y = k.select(k.cmp(Cmp::LT, x, zero),
               k.like(x, std::numeric_limits<float>::quiet_NaN()), y);
  return k.select(k.isNaN(x), x, y);
}

Value adaptive::kernels::emitLog1p(Kernel &k, Value x) {
  // log(w) * x / (w - 1) with w = fl(1 + x) repairs the rounding of w.
  Value one = k.like(x, 1.0f);
  Value w = k.add(x, one), d = k.sub(w, one);
  Value direct = emitLog(k, w);
  Value repaired = k.mul(direct, k.div(x, d));
  Value y = k.select(k.cmp(Cmp::EQ, d, k.like(x, 0.0f)), x, repaired);
  return k.select(k.cmp(Cmp::GT, x, k.like(x, 16777216.0f)), direct, y);
}

static Value copySign(Kernel &k, Value magnitude, Value sign) {
  Type ints = intTypeLike(k, sign);
  Value bit =
      k.andi(k.bitcast(sign, ints), k.constant(ints, int64_t(-2147483648LL)));
  return k.bitcast(k.ori(k.bitcast(magnitude, ints), bit), sign.getType());
}

Value adaptive::kernels::emitTanh(Kernel &k, Value x) {
  Value a = k.abs(x), square = k.mul(x, x), one = k.like(x, 1.0f);
  Value q = polynomial(k, square,
                       {-0.333333313f, 0.133332118f, -0.0539474599f,
                        0.0217041597f, -0.00818527117f, 0.00214967527f});
  Value small = k.fma(k.mul(square, x), q, x);
  Value e = emitExp(k, k.add(a, a));
  Value large = k.sub(one, k.div(k.like(x, 2.0f), k.add(e, one)));
  return k.select(k.cmp(Cmp::LT, a, k.like(x, 0.625f)), small,
                  copySign(k, large, x));
}

Value adaptive::kernels::emitErf(Kernel &k, Value x) {
  Value a = k.abs(x), one = k.like(x, 1.0f), four = k.like(x, 4.0f);
  // erf(x) / x - 1, so that the last step rounds x plus something smaller.
  Value ratio = polynomial(k, k.mul(x, x),
                           {0.128379226f, -0.376126379f, 0.112837829f,
                            -0.0268654451f, 0.00522107491f, -0.000848471129f,
                            0.000112705449f, -9.68013683e-06f});
  Value small = k.fma(x, ratio, x);
  // ln erfc on [1, 4]; beyond, erf rounds to 1.
  Value t = k.select(k.cmp(Cmp::GT, a, four), four, a);
  Value logErfc = polynomial(
      k, t,
      {0.000202065421f, -1.1296494f, -0.63306576f, -0.108606599f, 0.0253489241f,
       -0.00427063601f, 0.000460357813f, -2.47542321e-05f, 2.12085396e-07f});
  Value large = k.sub(one, emitExp(k, logErfc));
  return k.select(k.cmp(Cmp::LT, a, one), small, copySign(k, large, x));
}

Value adaptive::kernels::emitF32Function(const OpBuilder &builder, Location loc,
                                         F32Function function, Value x) {
  Kernel k(builder, loc);
  switch (function) {
  case F32Function::Exp:
    return emitExp(k, x);
  case F32Function::Log:
    return emitLog(k, x);
  case F32Function::Tanh:
    return emitTanh(k, x);
  case F32Function::Erf:
    return emitErf(k, x);
  }
  llvm_unreachable("all functions are listed");
}

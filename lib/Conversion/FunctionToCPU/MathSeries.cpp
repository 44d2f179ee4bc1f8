// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementary functions on f64; see MathSeries.h.

#include "MathSeries.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>

using namespace mlir;
using namespace adaptive::cpu;

static constexpr double infinity = std::numeric_limits<double>::infinity();
static constexpr double nan_ = std::numeric_limits<double>::quiet_NaN();
static constexpr double ln2 = 0.6931471805599453;
static constexpr double ln2Rest = 2.3190468138462996e-17;
static constexpr double halfPi = 1.5707963267948966;

Value MathSeries::c(double value) {
  return arith::ConstantOp::create(b, b.getF64FloatAttr(value));
}
Value MathSeries::n(int64_t value) {
  return arith::ConstantOp::create(b, b.getI64IntegerAttr(value));
}
Value MathSeries::add(Value x, Value y) {
  return arith::AddFOp::create(b, x, y);
}
Value MathSeries::sub(Value x, Value y) {
  return arith::SubFOp::create(b, x, y);
}
Value MathSeries::mul(Value x, Value y) {
  return arith::MulFOp::create(b, x, y);
}
Value MathSeries::div(Value x, Value y) {
  return arith::DivFOp::create(b, x, y);
}
Value MathSeries::fma(Value x, Value y, Value z) {
  return math::FmaOp::create(b, x, y, z);
}
Value MathSeries::neg(Value x) { return arith::NegFOp::create(b, x); }
Value MathSeries::abs(Value x) { return math::AbsFOp::create(b, x); }
Value MathSeries::sqrt(Value x) { return math::SqrtOp::create(b, x); }
Value MathSeries::copySign(Value magnitude, Value sign) {
  return math::CopySignOp::create(b, magnitude, sign);
}
Value MathSeries::less(Value x, Value y) {
  return arith::CmpFOp::create(b, arith::CmpFPredicate::OLT, x, y);
}
Value MathSeries::equal(Value x, Value y) {
  return arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, x, y);
}
Value MathSeries::isNaN(Value x) {
  return arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
}
Value MathSeries::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, condition, x, y);
}
Value MathSeries::bits(Value x) { return arith::BitcastOp::create(b, i64, x); }
Value MathSeries::fromBits(Value x) {
  return arith::BitcastOp::create(b, f64, x);
}
Value MathSeries::both(Value x, Value y) {
  return arith::AndIOp::create(b, x, y);
}
Value MathSeries::either(Value x, Value y) {
  return arith::OrIOp::create(b, x, y);
}

Value MathSeries::polynomial(Value x, ArrayRef<double> coefficients) {
  Value sum = c(coefficients.back());
  for (double coefficient : llvm::reverse(coefficients.drop_back()))
    sum = fma(sum, x, c(coefficient));
  return sum;
}

std::pair<Value, Value> MathSeries::nearest(Value x) {
  // Adding 1.5 * 2^52 rounds and leaves the integer in the low bits; unlike a
  // conversion it is defined for any x.
  Value magic = c(6755399441055744.0);
  Value shifted = add(x, magic);
  return {sub(shifted, magic),
          arith::SubIOp::create(b, bits(shifted), bits(magic))};
}

Value MathSeries::scale(Value x, Value exponent) {
  // In two factors: the exponent reaches beyond that of a double.
  Value half = arith::ShRSIOp::create(b, exponent, n(1));
  auto power = [&](Value e) {
    return fromBits(arith::ShLIOp::create(
        b, arith::AddIOp::create(b, e, n(1023)).getResult(), n(52)));
  };
  return mul(mul(x, power(half)),
             power(arith::SubIOp::create(b, exponent, half)));
}

/// 1/2!, 1/3!, ...: exp(r) = 1 + r + r^2 p(r).
static constexpr double expTaylor[] = {0.5,
                                       0.16666666666666666,
                                       0.041666666666666664,
                                       0.008333333333333333,
                                       0.001388888888888889,
                                       0.0001984126984126984,
                                       2.48015873015873e-05,
                                       2.7557319223985893e-06,
                                       2.755731922398589e-07,
                                       2.505210838544172e-08,
                                       2.08767569878681e-09,
                                       1.6059043836821613e-10};

Value MathSeries::exp(Value x) {
  // Comparisons that a NaN fails, so that it passes through.
  x = select(less(x, c(-746.0)), c(-746.0), x);
  x = select(less(c(710.0), x), c(710.0), x);
  auto [number, integer] = nearest(mul(x, c(1.4426950408889634)));
  Value r = fma(number, c(-ln2), x);
  r = fma(number, c(-ln2Rest), r);
  Value p = fma(mul(r, r), polynomial(r, expTaylor), r);
  return scale(add(p, c(1.0)), integer);
}

Value MathSeries::expm1(Value x) {
  Value small = fma(mul(x, x), polynomial(x, expTaylor), x);
  // The sign of zero is lost in the sum.
  return copySign(select(less(abs(x), c(0.34)), small, sub(exp(x), c(1.0))), x);
}

Value MathSeries::exp2(Value x) {
  // Whole exponents are exact.
  Value low = select(less(x, c(-1080.0)), c(-1080.0), x);
  Value inRange = select(less(c(1030.0), low), c(1030.0), low);
  auto [number, integer] = nearest(inRange);
  return scale(exp(mul(sub(inRange, number), c(ln2))), integer);
}

Value MathSeries::log(Value x) {
  Value tiny = less(x, c(std::numeric_limits<double>::min()));
  Value scaled = select(tiny, mul(x, c(18014398509481984.0)), x);
  // The exponent counts from sqrt(1/2), so that the mantissa lies in
  // [sqrt(1/2), sqrt(2)).
  Value word = bits(scaled);
  Value offset = arith::SubIOp::create(b, word, n(0x3fe6a09e667f3bcdLL));
  Value e = arith::ShRSIOp::create(b, offset, n(52));
  Value m = fromBits(arith::SubIOp::create(
      b, word, arith::ShLIOp::create(b, e, n(52)).getResult()));
  Value exponent = arith::SubIOp::create(b, e, select(tiny, n(54), n(0)));
  Value magic = c(6755399441055744.0);
  Value number =
      sub(fromBits(arith::AddIOp::create(b, exponent, bits(magic))), magic);
  // log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f).
  Value f = sub(m, c(1.0));
  Value s = div(f, add(f, c(2.0)));
  Value z = mul(s, s);
  Value series = mul(
      z, polynomial(z, {2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13,
                        2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23}));
  Value half = mul(mul(f, f), c(0.5));
  // The high part has few bits, so that its product with the exponent is exact.
  Value rest =
      fma(number, c(1.9082149292705877e-10), mul(s, add(half, series)));
  Value y = fma(number, c(0.6931471803691238), sub(f, sub(half, rest)));
  y = select(equal(x, c(0.0)), c(-infinity), y);
  y = select(equal(x, c(infinity)), x, y);
  y = select(less(x, c(0.0)), c(nan_), y);
  return select(isNaN(x), x, y);
}

Value MathSeries::log1p(Value x) {
  // log(w) x / (w - 1) with w = fl(1 + x) repairs the rounding of w.
  Value w = add(x, c(1.0)), d = sub(w, c(1.0));
  Value direct = log(w);
  Value y = select(equal(d, c(0.0)), x, mul(direct, div(x, d)));
  // Where w is x, or there is no finite logarithm.
  Value plain = either(less(c(1e16), x), less(x, c(-0.9999999999999999)));
  return select(plain, direct, y);
}

Value MathSeries::log2(Value x) { return mul(log(x), c(1.4426950408889634)); }
Value MathSeries::log10(Value x) { return mul(log(x), c(0.4342944819032518)); }

MathSeries::Reduced MathSeries::reduce(Value x) {
  // pi/2 in three parts: fused steps lose nothing while the integer is exact.
  auto [number, integer] = nearest(mul(x, c(0.6366197723675814)));
  Value r = fma(number, c(-halfPi), x);
  r = fma(number, c(-6.123233995736766e-17), r);
  r = fma(number, c(1.4973849048591833e-33), r);
  Value z = mul(r, r);
  Value sine =
      fma(mul(r, z),
          polynomial(z, {-0.16666666666666666, 0.008333333333333333,
                         -0.0001984126984126984, 2.7557319223985893e-06,
                         -2.505210838544172e-08, 1.6059043836821613e-10,
                         -7.647163731819816e-13, 2.8114572543455206e-15}),
          r);
  Value cosine =
      fma(mul(z, z),
          polynomial(z, {0.041666666666666664, -0.001388888888888889,
                         2.48015873015873e-05, -2.755731922398589e-07,
                         2.08767569878681e-09, -1.1470745597729725e-11,
                         4.779477332387385e-14, -1.5619206968586225e-16}),
          fma(z, c(-0.5), c(1.0)));
  return {sine, cosine, integer};
}

Value MathSeries::circular(Value x, int64_t quarter) {
  Reduced r = reduce(x);
  Value quadrant = arith::AddIOp::create(b, r.quadrant, n(quarter));
  auto bit = [&](int64_t mask) -> Value {
    return arith::CmpIOp::create(
        b, arith::CmpIPredicate::ne,
        arith::AndIOp::create(b, quadrant, n(mask)).getResult(), n(0));
  };
  Value y = select(bit(1), r.cosine, r.sine);
  y = select(bit(2), neg(y), y);
  return select(less(abs(x), c(0x1p50)), y, c(nan_));
}

Value MathSeries::sin(Value x) {
  return select(equal(x, c(0.0)), x, circular(x, 0));
}
Value MathSeries::cos(Value x) { return circular(x, 1); }
Value MathSeries::tan(Value x) {
  Reduced r = reduce(x);
  Value odd = arith::CmpIOp::create(
      b, arith::CmpIPredicate::ne,
      arith::AndIOp::create(b, r.quadrant, n(1)).getResult(), n(0));
  Value y =
      div(select(odd, neg(r.cosine), r.sine), select(odd, r.sine, r.cosine));
  y = select(less(abs(x), c(0x1p50)), y, c(nan_));
  return select(equal(x, c(0.0)), x, y);
}

Value MathSeries::atan(Value x) {
  Value a = abs(x);
  Value large = less(c(1.0), a);
  Value t = select(large, div(c(1.0), a), a);
  // atan t = 2 atan(t / (1 + sqrt(1 + t^2))), twice.
  for (int i = 0; i < 2; ++i)
    t = div(t, add(c(1.0), sqrt(fma(t, t, c(1.0)))));
  Value z = mul(t, t);
  Value series = fma(
      mul(t, z),
      polynomial(z, {-1.0 / 3, 1.0 / 5, -1.0 / 7, 1.0 / 9, -1.0 / 11, 1.0 / 13,
                     -1.0 / 15, 1.0 / 17, -1.0 / 19, 1.0 / 21, -1.0 / 23}),
      t);
  Value y = mul(series, c(4.0));
  y = select(large, sub(c(halfPi), sub(y, c(6.123233995736766e-17))), y);
  return copySign(y, x);
}

Value MathSeries::atan2(Value y, Value x) {
  Value ax = abs(x), ay = abs(y);
  // Equal infinities count as 1 / 1.
  Value same = both(equal(ax, c(infinity)), equal(ay, c(infinity)));
  Value none = both(equal(ax, c(0.0)), equal(ay, c(0.0)));
  Value ratio = select(same, c(1.0), select(none, c(0.0), div(ay, ax)));
  Value angle = atan(ratio);
  Value left = less(copySign(c(1.0), x), c(0.0));
  angle = select(left, sub(c(2 * halfPi), angle), angle);
  Value result = copySign(angle, y);
  return select(isNaN(x), x, result);
}

Value MathSeries::asin(Value x) {
  Value one = c(1.0);
  return atan(div(x, sqrt(mul(sub(one, x), add(one, x)))));
}
Value MathSeries::acos(Value x) {
  Value one = c(1.0);
  return mul(c(2.0), atan(sqrt(div(sub(one, x), add(one, x)))));
}

Value MathSeries::sinh(Value x) {
  Value a = abs(x), e = expm1(a);
  Value y = mul(c(0.5), add(e, div(e, add(e, c(1.0)))));
  // Half the exponent first: exp overflows before sinh does.
  Value h = exp(mul(a, c(0.5)));
  y = select(less(c(709.0), a), mul(mul(h, c(0.5)), h), y);
  return copySign(y, x);
}
Value MathSeries::cosh(Value x) {
  Value h = exp(mul(abs(x), c(0.5))), e = mul(h, h);
  return add(mul(mul(h, c(0.5)), h), div(c(0.5), e));
}
Value MathSeries::tanh(Value x) {
  Value a = abs(x);
  a = select(less(c(22.0), a), c(22.0), a);
  Value e = expm1(mul(a, c(2.0)));
  return copySign(div(e, add(e, c(2.0))), x);
}

Value MathSeries::asinh(Value x) {
  Value a = abs(x), one = c(1.0), square = mul(a, a);
  Value y = log1p(add(a, div(square, add(one, sqrt(add(square, one))))));
  y = select(less(c(1e150), a), add(log(a), c(ln2)), y);
  return copySign(y, x);
}
Value MathSeries::acosh(Value x) {
  Value t = sub(x, c(1.0));
  Value y = log1p(add(t, sqrt(mul(t, add(t, c(2.0))))));
  y = select(less(c(1e150), x), add(log(x), c(ln2)), y);
  return select(less(x, c(1.0)), c(nan_), y);
}
Value MathSeries::atanh(Value x) {
  Value a = abs(x);
  Value y = mul(c(0.5), log1p(div(add(a, a), sub(c(1.0), a))));
  y = select(equal(a, c(1.0)), c(infinity), y);
  return copySign(select(less(c(1.0), a), c(nan_), y), x);
}

/// erf(x) / x in powers of x^2, for |x| < 1.
static constexpr double erfRatio[] = {
    1.1283791670955126,      -0.37612638903183754,    0.1128379167095512,
    -0.02686617064512984,    0.0052239776254232985,   -0.000854832702193483,
    0.00012055332902888736,  -1.4925647567519332e-05, 1.6462045441468418e-06,
    -1.6364642158167616e-07, 1.4792401209404813e-08,  -1.216456005728345e-09,
    8.709045129053106e-11,   -4.230945824295338e-12};

/// exp(x^2) erfc(x) in powers of (x - 3) / (x + 3), for x in [1, 28].
static constexpr double erfcScaled[] = {
    0.17900115118138996,     -0.3262335600430372,     0.24560380171233087,
    -0.15011593650077723,    0.07166583719797852,     -0.024392499318670876,
    0.004269136332823019,    0.0007077464388955451,   -0.000597061948186431,
    4.525529879755689e-05,   6.405655182116259e-05,   -1.286049780534129e-05,
    -7.978112294201648e-06,  2.1199949812977807e-06,  1.2524386698266447e-06,
    -2.938041151053848e-07,  -2.3455186208864668e-07, 2.797938567936822e-08,
    4.678315856073447e-08,   2.07576373055649e-09,    -8.7992294790858e-09,
    -2.3270322173015527e-09, 1.3420801161455558e-09,  9.517072394853507e-10,
    -1.8960854366961072e-10, -2.800801304399397e-10,  9.29169363120176e-11};

Value MathSeries::erfc(Value x) {
  Value a = abs(x);
  Value far = select(less(c(28.0), a), c(28.0), a);
  Value t = div(sub(far, c(3.0)), add(far, c(3.0)));
  Value g = polynomial(t, erfcScaled);
  // exp(-x^2) with the rounding of the square put back.
  Value square = mul(far, far), rest = fma(far, far, neg(square));
  Value tail = mul(mul(exp(neg(square)), sub(c(1.0), rest)), g);
  tail = select(less(x, c(0.0)), sub(c(2.0), tail), tail);
  Value z = mul(x, x);
  Value near_ = mul(x, polynomial(z, erfRatio));
  return select(less(a, c(1.0)), sub(c(1.0), near_), select(isNaN(x), x, tail));
}

Value MathSeries::erf(Value x) {
  Value z = mul(x, x);
  Value near_ = mul(x, polynomial(z, erfRatio));
  Value a = abs(x);
  Value far = copySign(sub(c(1.0), erfc(a)), x);
  return select(less(a, c(1.0)), near_, far);
}

Value MathSeries::cbrt(Value x) {
  Value a = abs(x);
  Value y = exp(div(log(a), c(3.0)));
  // One step of Newton repairs what log and exp lost.
  Value step = div(fma(mul(y, y), y, neg(a)), mul(c(3.0), mul(y, y)));
  Value special = either(equal(a, c(0.0)), equal(a, c(infinity)));
  return copySign(select(special, a, sub(y, step)), x);
}

Value MathSeries::pow(Value x, Value y) {
  Value a = abs(x), ay = abs(y);
  Value floor = math::FloorOp::create(b, y);
  Value whole = equal(floor, y);
  // Odd: half of it is not whole. Doubles beyond 2^53 are even.
  Value half = mul(y, c(0.5));
  Value halfWhole = equal(math::FloorOp::create(b, half), half);
  Value odd = both(whole, arith::XOrIOp::create(b, halfWhole,
                                                arith::ConstantOp::create(
                                                    b, b.getBoolAttr(true))));
  Value general = exp(mul(y, log(a)));
  // Small whole exponents by squaring, as people expect 3^2 to be 9.
  Value count = select(less(ay, c(64.0)), ay, c(0.0));
  auto [unused, integer] = nearest(count);
  (void)unused;
  Value product = c(1.0), square = a;
  for (int bit = 0; bit < 6; ++bit) {
    Value set = arith::CmpIOp::create(
        b, arith::CmpIPredicate::ne,
        arith::AndIOp::create(b, integer, n(int64_t(1) << bit)).getResult(),
        n(0));
    product = select(set, mul(product, square), product);
    if (bit < 5)
      square = mul(square, square);
  }
  product = select(less(y, c(0.0)), div(c(1.0), product), product);
  Value small = both(whole, less(ay, c(64.0)));
  Value result = select(small, product, general);
  // |x| = 1 with an infinite exponent.
  result = select(equal(a, c(1.0)), select(isNaN(y), y, c(1.0)), result);
  Value negative = less(x, c(0.0));
  Value finite = less(ay, c(infinity));
  Value undefined =
      both(both(negative, finite),
           both(arith::CmpFOp::create(b, arith::CmpFPredicate::ONE, floor, y),
                less(a, c(infinity))));
  result = select(undefined, c(nan_), result);
  Value sign = copySign(c(1.0), x);
  result = select(odd, mul(result, sign), result);
  Value one = either(equal(y, c(0.0)), equal(x, c(1.0)));
  result = select(isNaN(x), x, result);
  return select(one, c(1.0), result);
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementary functions on f64 scalars as arithmetic. Also what f32 functions
// other than the kernels' own are computed with: rounded once from f64 they are
// right to half an ulp in practice.
//
// Methods: argument reduction by constants split in two or three parts (fused
// steps make the products exact), then Taylor series on the reduced interval;
// erf and erfc by interpolation at Chebyshev nodes of erf(x) / x in x^2 and of
// exp(x^2) erfc(x) in (x - 3) / (x + 3), coefficients computed to 50 digits.

#ifndef ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_MATHSERIES_H
#define ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_MATHSERIES_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace adaptive::cpu {

/// Writes f64 functions at the insertion point of its builder. Relative errors
/// are a few 1e-16 unless said otherwise; NaN passes through.
class MathSeries {
public:
  using Value = mlir::Value;
  explicit MathSeries(mlir::ImplicitLocOpBuilder builder)
      : b(builder), f64(b.getF64Type()), i64(b.getI64Type()) {}

  Value exp(Value x);
  Value expm1(Value x);
  Value exp2(Value x); ///< relative error up to |x| * 1e-16
  Value log(Value x);
  Value log1p(Value x);
  Value log2(Value x);
  Value log10(Value x);
  Value sin(Value x); ///< |x| up to 2^50, beyond NaN
  Value cos(Value x);
  Value tan(Value x);
  Value asin(Value x);
  Value acos(Value x);
  Value atan(Value x);
  Value atan2(Value y, Value x);
  Value sinh(Value x);
  Value cosh(Value x);
  Value tanh(Value x);
  Value asinh(Value x);
  Value acosh(Value x);
  Value atanh(Value x);
  Value erf(Value x);
  Value erfc(Value x);
  Value cbrt(Value x);
  /// Exact where |y| is an integer below 64 and the products are; otherwise the
  /// relative error is up to |y log x| * 2e-16.
  Value pow(Value x, Value y);

private:
  Value c(double value);
  Value n(int64_t value);
  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y);
  Value fma(Value x, Value y, Value z);
  Value neg(Value x);
  Value abs(Value x);
  Value sqrt(Value x);
  Value copySign(Value magnitude, Value sign);
  Value less(Value x, Value y);
  Value equal(Value x, Value y);
  Value isNaN(Value x);
  Value select(Value condition, Value x, Value y);
  Value bits(Value x);
  Value fromBits(Value x);
  Value both(Value x, Value y);
  Value either(Value x, Value y);
  Value polynomial(Value x, llvm::ArrayRef<double> coefficients);
  /// x rounded to an integer, as number and as i64; |x| below 2^51.
  std::pair<Value, Value> nearest(Value x);
  Value scale(Value x, Value exponent); ///< x 2^e
  /// sin (quarter 0) or cos (1) of x, from its reduction.
  struct Reduced {
    Value sine, cosine, quadrant;
  };
  Reduced reduce(Value x);
  Value circular(Value x, int64_t quarter);

  mlir::ImplicitLocOpBuilder b;
  mlir::Type f64, i64;
};

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_MATHSERIES_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks, indices and scalars of the emitter.

#include "Emitter.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace adaptive::tolinalg;

Type adaptive::tolinalg::storageType(Type element) {
  if (isa<Float16Type, BFloat16Type, Float32Type, Float64Type>(element))
    return element;
  auto integer = dyn_cast<IntegerType>(element);
  if (!integer ||
      !llvm::is_contained({1u, 8u, 16u, 32u, 64u}, integer.getWidth()))
    return {};
  return IntegerType::get(element.getContext(), integer.getWidth());
}

Type adaptive::tolinalg::computeType(Type element) {
  if (isa<Float16Type, BFloat16Type>(element))
    return Float32Type::get(element.getContext());
  return storageType(element);
}

std::optional<int64_t> adaptive::tolinalg::constant(Size size) {
  return getConstantIntValue(size);
}

bool adaptive::tolinalg::isConstant(Size size, int64_t value) {
  auto known = constant(size);
  return known && *known == value;
}

bool adaptive::tolinalg::same(const Size &a, const Size &b) {
  return isEqualConstantIntOrValue(a, b);
}

bool adaptive::tolinalg::same(ArrayRef<Size> a, ArrayRef<Size> b) {
  return a.size() == b.size() && llvm::all_of(llvm::zip(a, b), [](auto pair) {
           return same(std::get<0>(pair), std::get<1>(pair));
         });
}

LogicalResult Emitter::error(const Twine &text) {
  if (!hasFailed)
    emitError(b.getLoc()) << node << ": " << text;
  hasFailed = true;
  return failure();
}

void Emitter::require(Value condition, const Twine &otherwise) {
  if (auto known = getConstantIntValue(condition)) {
    if (*known == 0)
      (void)error(otherwise);
    return;
  }
  cf::AssertOp::create(b, condition, (node + ": " + otherwise).str());
}

void Emitter::requireEqual(Size x, Size y, const Twine &otherwise) {
  if (!same(x, y))
    require(compare(arith::CmpIPredicate::eq, x, y), otherwise);
}

//===-- Indices -----------------------------------------------------------===//

Value Emitter::index(Size size) {
  return getValueOrCreateConstantIndexOp(b, b.getLoc(), size);
}

Size Emitter::add(Size x, Size y) {
  if (isConstant(x, 0))
    return y;
  if (isConstant(y, 0))
    return x;
  return getAsOpFoldResult(op<arith::AddIOp>(index(x), index(y)));
}

Size Emitter::sub(Size x, Size y) {
  if (isConstant(y, 0))
    return x;
  if (same(x, y))
    return size(0);
  return getAsOpFoldResult(op<arith::SubIOp>(index(x), index(y)));
}

Size Emitter::mul(Size x, Size y) {
  if (isConstant(x, 1))
    return y;
  if (isConstant(y, 1))
    return x;
  return getAsOpFoldResult(op<arith::MulIOp>(index(x), index(y)));
}

Size Emitter::floorDiv(Size x, Size y) {
  if (isConstant(y, 1))
    return x;
  // (a * y) / y is common: a reshape that splits what another merged.
  if (auto value = dyn_cast<Value>(x))
    if (auto product = value.getDefiningOp<arith::MulIOp>()) {
      if (same(getAsOpFoldResult(product.getRhs()), y))
        return getAsOpFoldResult(product.getLhs());
      if (same(getAsOpFoldResult(product.getLhs()), y))
        return getAsOpFoldResult(product.getRhs());
    }
  return getAsOpFoldResult(op<arith::FloorDivSIOp>(index(x), index(y)));
}

Size Emitter::ceilDiv(Size x, Size y) {
  if (isConstant(y, 1))
    return x;
  return getAsOpFoldResult(op<arith::CeilDivSIOp>(index(x), index(y)));
}

Size Emitter::min(Size x, Size y) {
  if (same(x, y))
    return x;
  return getAsOpFoldResult(op<arith::MinSIOp>(index(x), index(y)));
}

Size Emitter::max(Size x, Size y) {
  if (same(x, y) || (isConstant(y, 0) && isNonNegative(x)))
    return x;
  return getAsOpFoldResult(op<arith::MaxSIOp>(index(x), index(y)));
}

Size Emitter::product(ArrayRef<Size> sizes) {
  Size result = size(1);
  for (Size factor : sizes)
    result = mul(result, factor);
  return result;
}

Size Emitter::select(Value condition, Size x, Size y) {
  if (same(x, y))
    return x;
  return getAsOpFoldResult(op<arith::SelectOp>(condition, index(x), index(y)));
}

Value Emitter::compare(arith::CmpIPredicate predicate, Size x, Size y) {
  return op<arith::CmpIOp>(predicate, index(x), index(y));
}

bool Emitter::isNonNegative(Size x) {
  if (auto known = constant(x))
    return *known >= 0;
  Operation *op = cast<Value>(x).getDefiningOp();
  auto both = [&](unsigned first) {
    return isNonNegative(getAsOpFoldResult(op->getOperand(first))) &&
           isNonNegative(getAsOpFoldResult(op->getOperand(first + 1)));
  };
  if (!op)
    return false;
  if (isa<arith::AddIOp, arith::MulIOp, arith::MinSIOp, arith::FloorDivSIOp,
          arith::CeilDivSIOp>(op))
    return both(0);
  if (isa<arith::MaxSIOp>(op))
    return isNonNegative(getAsOpFoldResult(op->getOperand(0))) ||
           isNonNegative(getAsOpFoldResult(op->getOperand(1)));
  if (isa<arith::SelectOp>(op))
    return both(1);
  return isa<tensor::DimOp>(op);
}

Size Emitter::wrapNegative(Size x, Size extent) {
  if (auto known = constant(x))
    return *known < 0 ? add(x, extent) : x;
  if (isNonNegative(x))
    return x;
  return select(compare(arith::CmpIPredicate::slt, x, size(0)), add(x, extent),
                x);
}

Size Emitter::fromElement(Value scalar, Type element) {
  if (auto cast = scalar.getDefiningOp<arith::IndexCastOp>())
    if (cast.getIn().getType().isIndex() && scalar.getType().isInteger(64))
      return getAsOpFoldResult(cast.getIn());
  bool isUnsigned = element.isUnsignedInteger() || element.isInteger(1);
  Type index = b.getIndexType();
  return getAsOpFoldResult(isUnsigned ? op<arith::IndexCastUIOp>(index, scalar)
                                      : op<arith::IndexCastOp>(index, scalar));
}

Value Emitter::toElement(Size size, Type element) {
  Type type = storageType(element);
  if (auto known = constant(size))
    return integer(type, *known);
  return op<arith::IndexCastOp>(type, index(size));
}

std::optional<SmallVector<int64_t>> Emitter::constantElements(const Tensor &t) {
  if (!t.ints)
    return std::nullopt;
  SmallVector<int64_t> result;
  for (Size element : *t.ints) {
    auto known = constant(element);
    if (!known)
      return std::nullopt;
    result.push_back(*known);
  }
  return result;
}

std::optional<Sizes> Emitter::elements(Tensor &tensor, StringRef what) {
  if (tensor.ints)
    return tensor.ints;
  auto count = tensor.rank() == 0   ? std::optional<int64_t>(1)
               : tensor.rank() == 1 ? constant(tensor.sizes[0])
                                    : std::nullopt;
  constexpr int64_t kMaxRead = 64; // far more dimensions than any tensor has
  if (!isa<IntegerType>(tensor.element) || !count || *count > kMaxRead) {
    (void)error(what + " must be an integer vector of a fixed number of "
                       "elements, or the rank of the result is unknown");
    return std::nullopt;
  }
  Sizes result;
  for (int64_t i = 0; i < *count; ++i) {
    SmallVector<Value> at;
    if (tensor.rank() == 1)
      at.push_back(index(size(i)));
    result.push_back(fromElement(this->at(tensor, at), tensor.element));
  }
  tensor.ints = result;
  return result;
}

//===-- Scalars -----------------------------------------------------------===//

Value Emitter::number(Type type, double value) {
  if (isa<FloatType>(type))
    return arith::ConstantOp::create(b, b.getFloatAttr(type, value));
  return integer(type, static_cast<int64_t>(value));
}

Value Emitter::integer(Type type, int64_t value) {
  if (type.isIndex())
    return arith::ConstantIndexOp::create(b, value);
  if (isa<FloatType>(type))
    return arith::ConstantOp::create(
        b, b.getFloatAttr(type, static_cast<double>(value)));
  APInt bits(type.getIntOrFloatBitWidth(), static_cast<uint64_t>(value),
             /*isSigned=*/true, /*implicitTrunc=*/true);
  return arith::ConstantOp::create(b, b.getIntegerAttr(type, bits));
}

Value Emitter::condition(arith::CmpFPredicate predicate, Value x, Value y) {
  return op<arith::CmpFOp>(predicate, x, y);
}

Value Emitter::toCompute(Value x, Type element) {
  Type type = computeType(element);
  return x.getType() == type ? x : op<arith::ExtFOp>(type, x);
}

Value Emitter::fromCompute(Value x, Type element) {
  Type type = storageType(element);
  return x.getType() == type ? x : op<arith::TruncFOp>(type, x);
}

/// Truncation as x86 does it: what does not fit becomes the least integer.
static Value floatToInteger(Emitter &e, Value x, Type target) {
  auto &b = e.b;
  Type wide = b.getI64Type();
  Value limit = e.number(x.getType(), 9223372036854775808.0);
  Value fits =
      e.condition(arith::CmpFPredicate::OLT, e.op<math::AbsFOp>(x), limit);
  Value zero = e.number(x.getType(), 0);
  Value safe = e.op<arith::SelectOp>(fits, x, zero);
  Value value = e.op<arith::SelectOp>(
      fits, e.op<arith::FPToSIOp>(wide, safe),
      e.integer(wide, std::numeric_limits<int64_t>::min()));
  return target == wide ? value : e.op<arith::TruncIOp>(target, value);
}

Value Emitter::convert(Value x, Type from, Type to) {
  Type target = storageType(to);
  if (isa<FloatType>(from)) {
    Value wide = toCompute(x, from);
    if (to.isInteger(1))
      return condition(arith::CmpFPredicate::UNE, wide,
                       number(wide.getType(), 0));
    if (isa<FloatType>(to)) {
      unsigned have = wide.getType().getIntOrFloatBitWidth();
      unsigned want = target.getIntOrFloatBitWidth();
      if (storageType(from) == target)
        return fromCompute(x, to);
      if (have < want)
        return op<arith::ExtFOp>(target, wide);
      return have > want ? op<arith::TruncFOp>(target, wide) : wide;
    }
    if (to.isUnsignedInteger(64)) {
      // Above 2^63 a signed conversion does not reach.
      Value half = number(wide.getType(), 9223372036854775808.0);
      Value large = condition(arith::CmpFPredicate::OGE, wide, half);
      Value low =
          op<arith::SelectOp>(large, op<arith::SubFOp>(wide, half), wide);
      Value bits = floatToInteger(*this, low, target);
      Value top = integer(target, std::numeric_limits<int64_t>::min());
      return op<arith::SelectOp>(large, op<arith::XOrIOp>(bits, top), bits);
    }
    return floatToInteger(*this, wide, target);
  }
  bool isUnsigned = from.isUnsignedInteger() || from.isInteger(1);
  if (isa<FloatType>(to)) {
    Type compute = computeType(to);
    Value wide = isUnsigned ? op<arith::UIToFPOp>(compute, x)
                            : op<arith::SIToFPOp>(compute, x);
    return fromCompute(wide, to);
  }
  if (to.isInteger(1))
    return op<arith::CmpIOp>(arith::CmpIPredicate::ne, x,
                             integer(x.getType(), 0));
  unsigned have = x.getType().getIntOrFloatBitWidth();
  unsigned want = target.getIntOrFloatBitWidth();
  if (have > want)
    return op<arith::TruncIOp>(target, x);
  if (have == want)
    return x;
  return isUnsigned ? op<arith::ExtUIOp>(target, x)
                    : op<arith::ExtSIOp>(target, x);
}

SmallVector<Value>
Emitter::loop(Size count, ValueRange carried,
              function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(
      b, index(size(0)), index(count), index(size(1)), carried,
      [&](OpBuilder &inner, Location, Value i, ValueRange values) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(inner.getInsertionBlock());
        scf::YieldOp::create(b, body(i, values));
      });
  return SmallVector<Value>(loop.getResults());
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Constants and arithmetic of the kernel language.

#include "AdaptiveDialect/Conversion/Kernels/Target.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace adaptive::kernels;

namespace {

bool isFloat(Value v) { return isa<FloatType>(getElementTypeOrSelf(v)); }

} // namespace

int64_t adaptive::kernels::widthOf(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getRank() == 1
             ? (tensor.isDynamicDim(0) ? 1 : tensor.getDimSize(0))
             : tensor.getDimSize(1);
}

Type adaptive::kernels::shapedLike(Type shape, Type element) {
  if (auto vector = dyn_cast<VectorType>(shape))
    return VectorType::get(vector.getShape(), element);
  return element;
}

unsigned adaptive::kernels::elementBytes(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isIntOrFloat() ? element.getIntOrFloatBitWidth() / 8 : 8;
}

bool adaptive::kernels::isStatic(Type type) {
  return cast<RankedTensorType>(type).hasStaticShape();
}

void Kernel::makeTypes() {
  i1 = b.getI1Type();
  i8 = b.getI8Type();
  i16 = b.getI16Type();
  i32 = b.getI32Type();
  i64 = b.getI64Type();
  f16 = b.getF16Type();
  f32 = b.getF32Type();
  ptr = target ? target->pointer(b.getContext())
               : LLVM::LLVMPointerType::get(b.getContext());
  if (!target)
    return;
  vf32 = vec(f32);
  vi32 = vec(i32);
  vi1 = vec(i1);
  vi8 = target->wide(i8, 4);
}

Kernel::Kernel(const OpBuilder &at, Location loc)
    : target(nullptr), b(at), loc(loc) {
  makeTypes();
}

Kernel::Kernel(ModuleOp module, StringRef name, const Target &target,
               Location loc)
    : target(&target), b(module.getContext()), loc(loc) {
  makeTypes();
  target.begin(*this, module, name);
  if (!entry->empty())
    lastAtEntry = &entry->back();
}

void Kernel::finish() { LLVM::ReturnOp::create(b, loc, ValueRange()); }

VectorType Kernel::vec(Type element) { return target->wide(element, 1); }

Value Kernel::constMask(int64_t count) {
  return target->constMask(*this, count);
}
Value Kernel::laneIds() { return target->laneIds(*this); }
Value Kernel::splat(Value scalar) { return target->splat(*this, scalar); }
Value Kernel::extract(Value vector, int64_t lane) {
  return target->extract(*this, vector, lane);
}
Value Kernel::popcount(Value mask) { return target->popcount(*this, mask); }
Value Kernel::reduceAdd(Value v) {
  return target->reduce(*this, v, [&](Value x, Value y) { return add(x, y); });
}
Value Kernel::reduceMax(Value v) {
  return target->reduce(*this, v, [&](Value x, Value y) {
    return isFloat(v) ? maxF(x, y) : maxS(x, y);
  });
}
Value Kernel::reduceMaxU(Value v) {
  return target->reduce(*this, v, [&](Value x, Value y) { return maxU(x, y); });
}

Value Kernel::constant(Type type, int64_t value) {
  Type element = getElementTypeOrSelf(type);
  TypedAttr attr = isa<FloatType>(element)
                       ? TypedAttr(b.getFloatAttr(element, double(value)))
                       : TypedAttr(b.getIntegerAttr(element, value));
  if (auto shaped = dyn_cast<VectorType>(type))
    attr = SplatElementsAttr::get(shaped, Attribute(attr));
  return LLVM::ConstantOp::create(b, loc, type, attr);
}

Value Kernel::constant(Type type, float value) {
  TypedAttr attr = b.getFloatAttr(getElementTypeOrSelf(type), double(value));
  if (auto shaped = dyn_cast<VectorType>(type))
    attr = SplatElementsAttr::get(shaped, Attribute(attr));
  return LLVM::ConstantOp::create(b, loc, type, attr);
}

Value Kernel::c64(int64_t value) { return constant(i64, value); }
Value Kernel::c32(int32_t value) { return constant(i32, int64_t(value)); }
Value Kernel::cf(float value) { return constant(f32, value); }
Value Kernel::vcf(float value) { return constant(vf32, value); }
Value Kernel::vci(int32_t value) { return constant(vi32, int64_t(value)); }
Value Kernel::zero(Type type) { return constant(type, int64_t(0)); }

Value Kernel::laneMask(Value count) {
  Value clamped = minS(maxS(count, c64(0)), c64(lanes));
  return cmp(Cmp::LT, laneIds(), splat(truncTo(clamped, i32)));
}

Value Kernel::add(Value x, Value y) {
  return isFloat(x) ? arith::AddFOp::create(b, loc, x, y).getResult()
                    : arith::AddIOp::create(b, loc, x, y).getResult();
}
Value Kernel::sub(Value x, Value y) {
  return isFloat(x) ? arith::SubFOp::create(b, loc, x, y).getResult()
                    : arith::SubIOp::create(b, loc, x, y).getResult();
}
Value Kernel::mul(Value x, Value y) {
  return isFloat(x) ? arith::MulFOp::create(b, loc, x, y).getResult()
                    : arith::MulIOp::create(b, loc, x, y).getResult();
}
Value Kernel::div(Value x, Value y) {
  return isFloat(x) ? arith::DivFOp::create(b, loc, x, y).getResult()
                    : arith::DivUIOp::create(b, loc, x, y).getResult();
}
Value Kernel::rem(Value x, Value y) {
  return arith::RemUIOp::create(b, loc, x, y);
}
// llvm.fma, never llvm.fmuladd: the latter may be split into two roundings.
Value Kernel::fma(Value x, Value y, Value z) {
  return LLVM::FMAOp::create(b, loc, x.getType(), x, y, z);
}
Value Kernel::neg(Value x) { return arith::NegFOp::create(b, loc, x); }
Value Kernel::sqrt(Value x) {
  return LLVM::SqrtOp::create(b, loc, x.getType(), x);
}
Value Kernel::abs(Value x) {
  return LLVM::FAbsOp::create(b, loc, x.getType(), x);
}
Value Kernel::andi(Value x, Value y) {
  return arith::AndIOp::create(b, loc, x, y);
}
Value Kernel::ori(Value x, Value y) {
  return arith::OrIOp::create(b, loc, x, y);
}
Value Kernel::xori(Value x, Value y) {
  return arith::XOrIOp::create(b, loc, x, y);
}
Value Kernel::shl(Value x, int64_t bits) {
  return arith::ShLIOp::create(b, loc, x, constant(x.getType(), bits));
}
Value Kernel::lshr(Value x, int64_t bits) {
  return arith::ShRUIOp::create(b, loc, x, constant(x.getType(), bits));
}
Value Kernel::ashr(Value x, int64_t bits) {
  return arith::ShRSIOp::create(b, loc, x, constant(x.getType(), bits));
}

Value Kernel::cmp(Cmp pred, Value x, Value y) {
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  static constexpr F floats[] = {F::OLT, F::OLE, F::OGT,
                                 F::OGE, F::OEQ, F::ONE};
  static constexpr I ints[] = {I::slt, I::sle, I::sgt, I::sge, I::eq, I::ne};
  return isFloat(x)
             ? arith::CmpFOp::create(b, loc, floats[int(pred)], x, y)
                   .getResult()
             : arith::CmpIOp::create(b, loc, ints[int(pred)], x, y).getResult();
}
Value Kernel::ult(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, x, y);
}
Value Kernel::ule(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ule, x, y);
}
Value Kernel::ugt(Value x, Value y) { return ult(y, x); }
Value Kernel::uge(Value x, Value y) { return ule(y, x); }
Value Kernel::isNaN(Value x) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, x, x);
}
Value Kernel::select(Value mask, Value x, Value y) {
  return arith::SelectOp::create(b, loc, mask, x, y);
}
Value Kernel::minS(Value x, Value y) {
  return arith::MinSIOp::create(b, loc, x, y);
}
Value Kernel::maxS(Value x, Value y) {
  return arith::MaxSIOp::create(b, loc, x, y);
}
Value Kernel::minU(Value x, Value y) {
  return arith::MinUIOp::create(b, loc, x, y);
}
Value Kernel::maxU(Value x, Value y) {
  return arith::MaxUIOp::create(b, loc, x, y);
}

Value Kernel::bitcast(Value x, Type type) {
  return LLVM::BitcastOp::create(b, loc, type, x);
}
Value Kernel::sitofp(Value x) {
  return LLVM::SIToFPOp::create(b, loc, shapedLike(x.getType(), f32), x);
}
Value Kernel::fptosi32(Value x) {
  return LLVM::FPToSIOp::create(b, loc, shapedLike(x.getType(), i32), x);
}
Value Kernel::extf(Value x) {
  return LLVM::FPExtOp::create(b, loc, shapedLike(x.getType(), f32), x);
}
Value Kernel::truncTo(Value x, Type type) {
  return LLVM::TruncOp::create(b, loc, type, x);
}
Value Kernel::sext(Value x, Type type) {
  return LLVM::SExtOp::create(b, loc, type, x);
}
Value Kernel::zext(Value x, Type type) {
  return LLVM::ZExtOp::create(b, loc, type, x);
}

Value Kernel::intrinsic(StringRef name, Type result, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, loc, result, b.getStringAttr(name),
                                       operands)
      .getResult(0);
}

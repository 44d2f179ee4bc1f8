// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Values, memory and control flow of the kernel language.

#include "Builder.h"

#include "ee/abi.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace adaptive::cpu;

namespace {

bool isFloat(Value v) { return isa<FloatType>(getElementTypeOrSelf(v)); }

} // namespace

int64_t adaptive::cpu::widthOf(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getRank() == 1
             ? (tensor.isDynamicDim(0) ? 1 : tensor.getDimSize(0))
             : tensor.getDimSize(1);
}

bool adaptive::cpu::isStatic(Type type) {
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
  ptr = LLVM::LLVMPointerType::get(b.getContext());
  vf32 = vec(f32);
  vi32 = vec(i32);
  vi1 = vec(i1);
  vi8 = vec(i8, 64);
}

Kernel::Kernel(const OpBuilder &at, Location loc)
    : level(Level::V3), b(at), loc(loc) {
  makeTypes();
}

Kernel::Kernel(ModuleOp module, StringRef name, Level level, Location loc)
    : level(level), b(module.getContext()), loc(loc) {
  makeTypes();
  b.setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(
      LLVM::LLVMVoidType::get(b.getContext()), {ptr, ptr, i64, i64, i64});
  auto func = LLVM::LLVMFuncOp::create(b, loc, name, type);
  // The function says what it is compiled for, whatever the target machine.
  // Wide vectors stay wide, and loops are not turned into library calls.
  func.setTargetCpu(level == Level::AVX512 ? "x86-64-v4" : "x86-64-v3");
  if (level == Level::AVX512)
    func.setTargetFeaturesAttr(LLVM::TargetFeaturesAttr::get(
        b.getContext(), ArrayRef<StringRef>{"+avx512vnni", "+avx512bf16"}));
  func.setPreferVectorWidth(level == Level::AVX512 ? "512" : "256");
  func.setPassthroughAttr(b.getArrayAttr(
      {b.getStringAttr("nounwind"), b.getStringAttr("no-builtins")}));
  entry = func.addEntryBlock(b);
  args = entry->getArgument(0);
  context = entry->getArgument(1);
  begin = entry->getArgument(2);
  end = entry->getArgument(3);
  worker = entry->getArgument(4);
  b.setInsertionPointToEnd(entry);
}

void Kernel::finish() { LLVM::ReturnOp::create(b, loc, ValueRange()); }

/// Emits `fn` at the start of the entry block, so that its value dominates
/// everything. Loads made this way must not depend on what kernels store.
template <typename Fn> Value Kernel::atEntry(Fn fn) {
  OpBuilder::InsertionGuard guard(b);
  if (lastAtEntry)
    b.setInsertionPointAfter(lastAtEntry);
  else
    b.setInsertionPointToStart(entry);
  Value result = fn();
  lastAtEntry = &*std::prev(b.getInsertionPoint());
  return result;
}

VectorType Kernel::vec(Type element, int64_t n) {
  return VectorType::get({n}, element);
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

Value Kernel::constMask(int64_t count) {
  SmallVector<bool> bits;
  for (int64_t i = 0; i < lanes; ++i)
    bits.push_back(i < count);
  return LLVM::ConstantOp::create(b, loc, vi1,
                                  DenseElementsAttr::get(vi1, bits));
}

Value Kernel::laneIds() {
  SmallVector<int32_t> ids;
  for (int64_t i = 0; i < lanes; ++i)
    ids.push_back(i);
  return LLVM::ConstantOp::create(
      b, loc, vi32, DenseElementsAttr::get(vi32, ArrayRef<int32_t>(ids)));
}

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
  Type type = f32;
  if (auto vector = dyn_cast<VectorType>(x.getType()))
    type = vec(f32, vector.getDimSize(0));
  return LLVM::SIToFPOp::create(b, loc, type, x);
}
Value Kernel::fptosi32(Value x) {
  Type type = i32;
  if (auto vector = dyn_cast<VectorType>(x.getType()))
    type = vec(i32, vector.getDimSize(0));
  return LLVM::FPToSIOp::create(b, loc, type, x);
}
Value Kernel::extf(Value x) {
  Type type = f32;
  if (auto vector = dyn_cast<VectorType>(x.getType()))
    type = vec(f32, vector.getDimSize(0));
  return LLVM::FPExtOp::create(b, loc, type, x);
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

Value Kernel::splat(Value scalar) {
  VectorType type = vec(scalar.getType());
  Value poison = LLVM::PoisonOp::create(b, loc, type);
  Value first =
      LLVM::InsertElementOp::create(b, loc, type, poison, scalar, c64(0));
  return shuffle(first, first, SmallVector<int32_t>(lanes, 0));
}
Value Kernel::extract(Value vector, int64_t lane) {
  return LLVM::ExtractElementOp::create(b, loc, vector, c64(lane));
}
Value Kernel::insert(Value scalar, Value vector, int64_t lane) {
  return LLVM::InsertElementOp::create(b, loc, vector, scalar, c64(lane));
}
Value Kernel::shuffle(Value x, Value y, ArrayRef<int32_t> indices) {
  return LLVM::ShuffleVectorOp::create(b, loc, x, y, indices);
}
Value Kernel::intrinsic(StringRef name, Type result, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, loc, result, b.getStringAttr(name),
                                       operands)
      .getResult(0);
}
Value Kernel::popcount(Value mask) {
  Value bits = bitcast(mask, b.getIntegerType(lanes));
  return zext(LLVM::CtPopOp::create(b, loc, bits.getType(), bits), i32);
}

/// Folds the upper half of the lanes into the lower until one is left.
static Value reduceTree(Kernel &k, Value v,
                        function_ref<Value(Value, Value)> combine) {
  for (int32_t half = lanes / 2; half >= 1; half /= 2) {
    SmallVector<int32_t> low, high;
    for (int32_t i = 0; i < half; ++i) {
      low.push_back(i);
      high.push_back(i + half);
    }
    v = combine(k.shuffle(v, v, low), k.shuffle(v, v, high));
  }
  return k.extract(v, 0);
}
Value Kernel::reduceAdd(Value v) {
  return reduceTree(*this, v, [&](Value x, Value y) { return add(x, y); });
}
Value Kernel::reduceMax(Value v) {
  return reduceTree(*this, v, [&](Value x, Value y) {
    return isFloat(v) ? maxF(x, y) : maxS(x, y);
  });
}
Value Kernel::reduceMaxU(Value v) {
  return reduceTree(*this, v, [&](Value x, Value y) { return maxU(x, y); });
}

Value Kernel::at(Value base, int64_t bytes) {
  if (bytes == 0)
    return base;
  return LLVM::GEPOp::create(b, loc, ptr, i8, base, ValueRange{c64(bytes)});
}
Value Kernel::at(Value base, Value bytes) {
  return LLVM::GEPOp::create(b, loc, ptr, i8, base, ValueRange{bytes});
}

static unsigned elementBytes(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isIntOrFloat() ? element.getIntOrFloatBitWidth() / 8 : 8;
}
Value Kernel::load(Type type, Value address, int64_t alignment) {
  return LLVM::LoadOp::create(b, loc, type, address,
                              alignment ? alignment : elementBytes(type));
}
void Kernel::store(Value v, Value address, int64_t alignment) {
  LLVM::StoreOp::create(b, loc, v, address,
                        alignment ? alignment : elementBytes(v.getType()));
}
Value Kernel::load(VectorType type, Value address, Value mask) {
  if (!mask)
    return load(type, address);
  return LLVM::MaskedLoadOp::create(b, loc, type, address, mask, zero(type),
                                    b.getI32IntegerAttr(elementBytes(type)),
                                    UnitAttr());
}
void Kernel::store(Value v, Value address, Value mask) {
  if (!mask)
    return store(v, address);
  LLVM::MaskedStoreOp::create(b, loc, v, address, mask,
                              elementBytes(v.getType()));
}

void Kernel::prefetch(Value address) {
  // For reading, into all levels.
  LLVM::Prefetch::create(b, loc, address, 0, 3, 1);
}

Values Kernel::loop(Value from, Value to, int64_t step, ValueRange init,
                    function_ref<Values(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(
      b, loc, from, to, constant(from.getType(), step), init,
      [&](OpBuilder &inner, Location, Value iv, ValueRange carried) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPoint(inner.getInsertionBlock(),
                            inner.getInsertionPoint());
        Values next = body(iv, carried);
        scf::YieldOp::create(b, loc, next);
      });
  return Values(op.getResults());
}
void Kernel::loop(Value from, Value to, int64_t step,
                  function_ref<void(Value)> body) {
  loop(from, to, step, ValueRange(), [&](Value iv, ValueRange) {
    body(iv);
    return Values();
  });
}
void Kernel::ifThen(Value condition, function_ref<void()> body) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &inner, Location) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    body();
    scf::YieldOp::create(b, loc);
  });
}
Values Kernel::ifElse(Value condition, function_ref<Values()> yes,
                      function_ref<Values()> no) {
  auto branch = [&](function_ref<Values()> body) {
    return [&, body](OpBuilder &inner, Location) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
      scf::YieldOp::create(b, loc, body());
    };
  };
  return Values(scf::IfOp::create(b, loc, condition, branch(yes), branch(no))
                    .getResults());
}

Values Kernel::forLanes(int64_t width, ValueRange init,
                        function_ref<Values(Value, Value, ValueRange)> body) {
  int64_t full = width / lanes * lanes;
  Values carried(init);
  if (full)
    carried = loop(c64(0), c64(full), lanes, carried,
                   [&](Value i, ValueRange c) { return body(i, Value(), c); });
  if (full < width)
    carried = body(c64(full), constMask(width - full), carried);
  return carried;
}
void Kernel::forLanes(int64_t width, function_ref<void(Value, Value)> body) {
  forLanes(width, ValueRange(), [&](Value i, Value mask, ValueRange) {
    body(i, mask);
    return Values();
  });
}

Value Kernel::field(size_t offset, Type type) {
  Value &value = fields[{offset, type}];
  if (!value)
    value = atEntry([&] { return load(type, at(args, int64_t(offset)), 8); });
  return value;
}
Value Kernel::rowCount() {
  if (!count) {
    Value pointer = field(offsetof(ee_stage_args, n_active), ptr);
    count = atEntry([&] { return sext(load(i32, pointer), i64); });
  }
  return count;
}
Value Kernel::slot(Value row) {
  Value list = field(offsetof(ee_stage_args, rows), ptr);
  return sext(load(i32, at(list, row, 4)), i64);
}
Value Kernel::column(size_t offset, Value row, Type type) {
  Value base = field(offsetof(ee_stage_args, columns) + offset, ptr);
  return load(type ? type : i32, at(base, slot(row), 4));
}
Value Kernel::address(const RowBuffer &buffer, Value row) {
  auto columnBase = [&](size_t offset) {
    return field(offsetof(ee_stage_args, columns) + offset, ptr);
  };
  switch (buffer.kind) {
  case RowBuffer::Arena: {
    Value base =
        at(field(offsetof(ee_stage_args, arena), ptr),
           mul(field(offsetof(ee_stage_args, max_rows), i64), buffer.perRow));
    return at(base, row, buffer.stride);
  }
  case RowBuffer::RowStore:
    return at(at(field(offsetof(ee_stage_args, row_store), ptr), slot(row),
                 buffer.stride),
              buffer.offset);
  case RowBuffer::Token:
    return at(columnBase(offsetof(ee_rows, token)), slot(row), 4);
  case RowBuffer::Decision:
    return at(columnBase(offsetof(ee_rows, decision)), slot(row), 4);
  case RowBuffer::Criteria:
    return at(at(columnBase(offsetof(ee_rows, criteria)), slot(row),
                 4 * EE_MAX_EXITS),
              4 * buffer.offset);
  }
  llvm_unreachable("all kinds of row buffers are handled");
}
Value Kernel::weight(const WeightRef &ref) {
  Value &value = weights[{ref.index, ref.perLayer}];
  if (value)
    return value;
  Value table = field(offsetof(ee_stage_args, weights), ptr);
  value = atEntry([&] {
    Value entryIndex = c64(ref.index);
    if (ref.perLayer)
      entryIndex =
          add(entryIndex, contextField(offsetof(LayerContext, firstWeight)));
    return load(ptr, at(table, entryIndex, 8));
  });
  return value;
}
Value Kernel::contextField(size_t offset) {
  return load(i64, at(context, int64_t(offset)));
}
Value Kernel::workerScratch() {
  if (!scratchBase) {
    Value base = field(offsetof(ee_stage_args, worker_scratch), ptr);
    Value bytes = field(offsetof(ee_stage_args, worker_scratch_bytes), i64);
    scratchBase = atEntry([&] { return at(base, mul(worker, bytes)); });
  }
  return scratchBase;
}
Value Kernel::record(size_t arrayOffset, Value index, int64_t size) {
  return at(field(arrayOffset, ptr), index, size);
}

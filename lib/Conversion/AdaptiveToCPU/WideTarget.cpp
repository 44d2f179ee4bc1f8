// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels for x86-64: 16 lanes are a vector, and dot products of bytes and of
// bf16 pairs are instructions of the level.

#include "AdaptiveDialect/Conversion/CPU/Target.h"
#include "AdaptiveDialect/Conversion/Kernels/Target.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

StringRef cpu::levelName(Level level) {
  return level == Level::AVX512 ? "avx512" : "x86-64-v3";
}

std::string cpu::profileName(Level level) {
  return "cpu-" + levelName(level).str() + "-" +
         std::to_string(arithmeticVersion);
}

namespace {

VectorType plain(Type element, int64_t n) {
  return VectorType::get({n}, element);
}

Value shuffle(Kernel &k, Value x, Value y, ArrayRef<int32_t> indices) {
  return LLVM::ShuffleVectorOp::create(k.b, k.loc, x, y, indices);
}

class WideTarget : public Target {
public:
  explicit WideTarget(Level level) : level(level) {}
  StringRef name() const override { return levelName(level); }

  Type pointer(MLIRContext *context) const override {
    return LLVM::LLVMPointerType::get(context);
  }
  void begin(Kernel &k, ModuleOp module, StringRef name) const override;

  VectorType wide(Type element, int64_t perLane) const override {
    return plain(element, lanes * perLane);
  }
  Value constMask(Kernel &k, int64_t count) const override;
  Value laneIds(Kernel &k) const override;
  Value splat(Kernel &k, Value scalar) const override;
  Value extract(Kernel &k, Value vector, int64_t lane) const override {
    return LLVM::ExtractElementOp::create(k.b, k.loc, vector, k.c64(lane));
  }
  Value reduce(Kernel &k, Value vector,
               function_ref<Value(Value, Value)> combine) const override;
  Value popcount(Kernel &k, Value mask) const override;

  using Target::load;
  Value load(Kernel &k, VectorType type, Value address,
             Value mask) const override;
  void store(Kernel &k, Value v, Value address, Value mask) const override;
  void prefetch(Kernel &k, Value address) const override {
    // For reading, into all levels.
    LLVM::Prefetch::create(k.b, k.loc, address, 0, 3, 1);
  }

  Value dotBytes(Kernel &k, Value sum, Value weights, Value x,
                 bool small) const override;
  Value dotBF16(Kernel &k, Value sum, Value weights, Value x) const override;

  int64_t accumulators() const override {
    return level == Level::AVX512 ? 24 : 6;
  }
  int64_t tileWidth(Format format, int64_t rows) const override;

private:
  Level level;
};

} // namespace

const Target &cpu::wideTarget(Level level) {
  static const WideTarget v3(Level::V3), avx512(Level::AVX512);
  return level == Level::AVX512 ? avx512 : v3;
}

void WideTarget::begin(Kernel &k, ModuleOp module, StringRef name) const {
  k.b.setInsertionPointToEnd(module.getBody());
  auto type =
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(k.b.getContext()),
                                  {k.ptr, k.ptr, k.i64, k.i64, k.i64});
  auto func = LLVM::LLVMFuncOp::create(k.b, k.loc, name, type);
  // The function says what it is compiled for, whatever the target machine.
  // Wide vectors stay wide, and loops are not turned into library calls.
  func.setTargetCpu(level == Level::AVX512 ? "x86-64-v4" : "x86-64-v3");
  if (level == Level::AVX512)
    func.setTargetFeaturesAttr(LLVM::TargetFeaturesAttr::get(
        k.b.getContext(), ArrayRef<StringRef>{"+avx512vnni", "+avx512bf16"}));
  func.setPreferVectorWidth(level == Level::AVX512 ? "512" : "256");
  func.setPassthroughAttr(k.b.getArrayAttr(
      {k.b.getStringAttr("nounwind"), k.b.getStringAttr("no-builtins")}));
  k.function = func;
  k.entry = func.addEntryBlock(k.b);
  k.b.setInsertionPointToEnd(k.entry);
  k.args = k.entry->getArgument(0);
  k.begin = k.entry->getArgument(2);
  k.end = k.entry->getArgument(3);
  k.worker = k.entry->getArgument(4);
  Value context = k.entry->getArgument(1);
  k.kvLayer =
      k.load(k.i64, k.at(context, int64_t(offsetof(LayerContext, kvLayer))));
  k.firstWeight = k.load(
      k.i64, k.at(context, int64_t(offsetof(LayerContext, firstWeight))));
}

Value WideTarget::constMask(Kernel &k, int64_t count) const {
  SmallVector<bool> bits;
  for (int64_t i = 0; i < lanes; ++i)
    bits.push_back(i < count);
  return LLVM::ConstantOp::create(k.b, k.loc, k.vi1,
                                  DenseElementsAttr::get(k.vi1, bits));
}

Value WideTarget::laneIds(Kernel &k) const {
  SmallVector<int32_t> ids;
  for (int64_t i = 0; i < lanes; ++i)
    ids.push_back(int32_t(i));
  return LLVM::ConstantOp::create(
      k.b, k.loc, k.vi32,
      DenseElementsAttr::get(k.vi32, ArrayRef<int32_t>(ids)));
}

Value WideTarget::splat(Kernel &k, Value scalar) const {
  VectorType type = wide(scalar.getType(), 1);
  Value poison = LLVM::PoisonOp::create(k.b, k.loc, type);
  Value first =
      LLVM::InsertElementOp::create(k.b, k.loc, type, poison, scalar, k.c64(0));
  return shuffle(k, first, first, SmallVector<int32_t>(lanes, 0));
}

/// Folds the upper half of the lanes into the lower until one is left.
Value WideTarget::reduce(Kernel &k, Value v,
                         function_ref<Value(Value, Value)> combine) const {
  for (int32_t half = lanes / 2; half >= 1; half /= 2) {
    SmallVector<int32_t> low, high;
    for (int32_t i = 0; i < half; ++i) {
      low.push_back(i);
      high.push_back(i + half);
    }
    v = combine(shuffle(k, v, v, low), shuffle(k, v, v, high));
  }
  return extract(k, v, 0);
}

Value WideTarget::popcount(Kernel &k, Value mask) const {
  Value bits = k.bitcast(mask, k.b.getIntegerType(lanes));
  return k.zext(LLVM::CtPopOp::create(k.b, k.loc, bits.getType(), bits), k.i32);
}

Value WideTarget::load(Kernel &k, VectorType type, Value address,
                       Value mask) const {
  unsigned alignment = elementBytes(type);
  if (!mask)
    return LLVM::LoadOp::create(k.b, k.loc, type, address, alignment);
  return LLVM::MaskedLoadOp::create(
      k.b, k.loc, type, address, mask, k.zero(type),
      k.b.getI32IntegerAttr(alignment), UnitAttr());
}

void WideTarget::store(Kernel &k, Value v, Value address, Value mask) const {
  unsigned alignment = elementBytes(v.getType());
  if (mask)
    LLVM::MaskedStoreOp::create(k.b, k.loc, v, address, mask, alignment);
  else
    LLVM::StoreOp::create(k.b, k.loc, v, address, alignment);
}

Value WideTarget::dotBytes(Kernel &k, Value sum, Value weights, Value x,
                           bool small) const {
  if (level == Level::AVX512)
    return k.intrinsic("llvm.x86.avx512.vpdpbusd.512", k.vi32,
                       {sum, weights, x});
  VectorType shorts = plain(k.i16, 32);
  SmallVector<int32_t> order;
  for (int32_t i = 0; i < 64; ++i)
    order.push_back(i);
  auto half = [&](Value v, int64_t h) {
    int64_t n = cast<VectorType>(v.getType()).getDimSize(0) / 2;
    return shuffle(k, v, v, ArrayRef<int32_t>(order).slice(h * n, n));
  };
  auto halves = [&](function_ref<Value(int64_t)> fn) {
    return shuffle(k, fn(0), fn(1), ArrayRef<int32_t>(order).take_front(lanes));
  };
  auto madd = [&](Value a, Value b) {
    return halves([&](int64_t h) {
      return k.intrinsic("llvm.x86.avx2.pmadd.wd", plain(k.i32, 8),
                         {half(a, h), half(b, h)});
    });
  };
  if (small) {
    // Pairs of products stay below 2^15, so the saturating form is exact.
    Value ones = k.constant(plain(k.i16, 16), int64_t(1));
    return k.add(sum, halves([&](int64_t h) {
                   Value products = k.intrinsic("llvm.x86.avx2.pmadd.ub.sw",
                                                plain(k.i16, 16),
                                                {half(weights, h), half(x, h)});
                   return k.intrinsic("llvm.x86.avx2.pmadd.wd", plain(k.i32, 8),
                                      {products, ones});
                 }));
  }
  // Even and odd bytes apart, widened to 16 bits.
  Value w = k.bitcast(weights, shorts), a = k.bitcast(x, shorts);
  Value even = k.andi(w, k.constant(shorts, int64_t(0xff))), odd = k.lshr(w, 8);
  Value evenX = k.ashr(k.shl(a, 8), 8), oddX = k.ashr(a, 8);
  return k.add(k.add(sum, madd(even, evenX)), madd(odd, oddX));
}

Value WideTarget::dotBF16(Kernel &k, Value sum, Value weights, Value x) const {
  if (level == Level::V3)
    return Target::dotBF16(k, sum, weights, x);
  VectorType pairs = plain(k.b.getBF16Type(), 2 * lanes);
  return k.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", k.vf32,
                     {sum, k.bitcast(weights, pairs), k.bitcast(x, pairs)});
}

int64_t WideTarget::tileWidth(Format format, int64_t rows) const {
  // Integer sums have two accumulators per output.
  bool integer = format == Format::Q8 || format == Format::Q4;
  if (level == Level::AVX512)
    return integer && rows > 3 ? 2 : 4;
  if (integer)
    return rows == 1 ? 2 : 1;
  return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}

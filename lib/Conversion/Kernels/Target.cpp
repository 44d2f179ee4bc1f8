// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What targets share, and the frame of an emitter.

#include "AdaptiveDialect/Conversion/Kernels/Target.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace adaptive::kernels;

Value Target::load(Kernel &k, Type type, Value address) const {
  return LLVM::LoadOp::create(k.b, k.loc, type, address, elementBytes(type));
}

Value Target::dotBF16(Kernel &k, Value sum, Value weights, Value x) const {
  auto low = [&](Value v) { return k.bitcast(k.shl(v, 16), k.vf32); };
  auto high = [&](Value v) {
    return k.bitcast(k.andi(v, k.vci(int32_t(0xffff0000))), k.vf32);
  };
  return k.fma(high(x), high(weights), k.fma(low(x), low(weights), sum));
}

Kernel Emitter::kernel(Location loc, StringRef suffix) const {
  return Kernel(module, (name + suffix).str(), target, loc);
}

void Emitter::launch(Kernel &k, int64_t perRow, int64_t fixed,
                     int64_t grain) const {
  k.finish();
  auto function = cast<LLVM::LLVMFuncOp>(k.function);
  launches.push_back(
      {function.getName().str(), perRow, fixed, grain, k.offsets});
}

void Emitter::rows(Location loc, int64_t bytesPerRow,
                   function_ref<void(Kernel &, Value)> body) const {
  Kernel k = kernel(loc);
  k.loop(k.begin, k.end, 1, [&](Value row) { body(k, row); });
  launch(k, 1, 0,
         std::max<int64_t>(1, (32 << 10) / std::max<int64_t>(bytesPerRow, 1)));
}

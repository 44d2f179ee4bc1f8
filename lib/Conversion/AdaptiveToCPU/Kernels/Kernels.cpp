// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The entry points of the seam: which emitter serves which op.

#include "AdaptiveDialect/Conversion/CPU/Kernels.h"

#include "Emit.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

StringRef adaptive::cpu::levelName(Level level) {
  return level == Level::AVX512 ? "avx512" : "x86-64-v3";
}

std::string adaptive::cpu::profileName(Level level) {
  // Raise the number whenever a kernel's arithmetic changes.
  return "cpu-" + levelName(level).str() + "-2";
}

void Emitter::rows(Operation *op, int64_t bytesPerRow,
                   function_ref<void(Kernel &, Value)> body) const {
  Kernel k = kernel(op);
  k.loop(k.begin, k.end, 1, [&](Value row) { body(k, row); });
  k.finish();
  launch("", 1, 0,
         std::max<int64_t>(1, (32 << 10) / std::max<int64_t>(bytesPerRow, 1)));
}

FailureOr<WeightRef> adaptive::cpu::plainWeight(Operation *op, const Emitter &e,
                                                Value weight) {
  WeightRef ref = e.context.weight(weight);
  if (ref.packing.format != Format::Plain)
    return op->emitError("this operand must be packed plain, but is ")
           << formatName(ref.packing.format);
  return ref;
}

KernelNeeds adaptive::cpu::kernelNeeds(Operation *op,
                                       const KernelContext &context) {
  return llvm::TypeSwitch<Operation *, KernelNeeds>(op)
      .Case<LinearOp>([&](auto o) { return linearNeeds(o, context); })
      .Case<AttendOp>([&](auto o) { return attendNeeds(o, context); })
      .Case<SampleOp>([&](auto o) { return sampleNeeds(o); })
      .Default([](Operation *) { return KernelNeeds(); });
}

LogicalResult adaptive::cpu::emitKernels(Operation *op, StringRef name,
                                         Level level,
                                         const KernelContext &context,
                                         ModuleOp module,
                                         SmallVectorImpl<Launch> &launches) {
  Emitter e{name, level, context, module, launches};
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<EmbedOp>([&](auto o) { return emitEmbed(o, e); })
      .Case<NormOp>([&](auto o) { return emitNorm(o, e); })
      .Case<LinearOp>([&](auto o) { return emitLinear(o, e); })
      .Case<MapOp>([&](auto o) { return emitMap(o, e); })
      .Case<SelectOp>([&](auto o) { return emitSelect(o, e); })
      .Case<RopeOp>([&](auto o) { return emitRope(o, e); })
      .Case<KVAppendOp>([&](auto o) { return emitKVAppend(o, e); })
      .Case<AttendOp>([&](auto o) { return emitAttend(o, e); })
      .Case<CriteriaOp>([&](auto o) { return emitCriteria(o, e); })
      .Case<ProbeOp>([&](auto o) { return emitProbe(o, e); })
      .Case<CosineOp>([&](auto o) { return emitCosine(o, e); })
      .Case<DecideOp>([&](auto o) { return emitDecide(o, e); })
      .Case<SampleOp>([&](auto o) { return emitSample(o, e); })
      .Case<CopyOp>([&](auto o) { return emitCopy(o, e); })
      .Case<OrOp>([&](auto o) { return emitOr(o, e); })
      .Case<MarkDepthOp>([&](auto o) { return emitMarkDepth(o, e); })
      .Default([&](Operation *o) {
        return o->emitError("the CPU backend has no kernel for '")
               << o->getName() << "'";
      });
}

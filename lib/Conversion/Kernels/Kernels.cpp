// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The entry points of the seam: which emitter serves which op.

#include "AdaptiveDialect/Conversion/Kernels/Kernels.h"

#include "Emit.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

FailureOr<WeightRef>
adaptive::kernels::plainWeight(Operation *op, const Emitter &e, Value weight) {
  WeightRef ref = e.context.weight(weight);
  if (ref.packing.format != Format::Plain)
    return op->emitError("this operand must be packed plain, but is ")
           << formatName(ref.packing.format);
  return ref;
}

KernelNeeds adaptive::kernels::kernelNeeds(Operation *op,
                                           const KernelContext &context) {
  return llvm::TypeSwitch<Operation *, KernelNeeds>(op)
      .Case<LinearOp>([&](auto o) { return linearNeeds(o, context); })
      .Case<AttendOp>([&](auto o) { return attendNeeds(o, context); })
      .Case<SampleOp>([&](auto o) { return sampleNeeds(o); })
      .Default([](Operation *) { return KernelNeeds(); });
}

LogicalResult
adaptive::kernels::emitKernels(Operation *op, StringRef name,
                               const Target &target,
                               const KernelContext &context, ModuleOp module,
                               SmallVectorImpl<Launch> &launches) {
  Emitter e{name, target, context, module, launches};
  if (auto done = target.emit(op, e))
    return *done;
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
        return o->emitError("there is no kernel for '") << o->getName() << "'";
      });
}

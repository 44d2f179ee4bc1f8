// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One emitter per op. Each builds the functions of its op and lists their
// launches.

#ifndef ADAPTIVE_LIB_CONVERSION_KERNELS_EMIT_H
#define ADAPTIVE_LIB_CONVERSION_KERNELS_EMIT_H

#include "AdaptiveDialect/Conversion/Kernels/Target.h"
#include "AdaptiveDialect/IR/Adaptive.h"

namespace adaptive::kernels {

mlir::LogicalResult emitEmbed(EmbedOp op, const Emitter &e);
mlir::LogicalResult emitNorm(NormOp op, const Emitter &e);
mlir::LogicalResult emitLinear(LinearOp op, const Emitter &e);
mlir::LogicalResult emitMap(MapOp op, const Emitter &e);
mlir::LogicalResult emitSelect(SelectOp op, const Emitter &e);
mlir::LogicalResult emitRope(RopeOp op, const Emitter &e);
mlir::LogicalResult emitKVAppend(KVAppendOp op, const Emitter &e);
mlir::LogicalResult emitAttend(AttendOp op, const Emitter &e);
mlir::LogicalResult emitCriteria(CriteriaOp op, const Emitter &e);
mlir::LogicalResult emitProbe(ProbeOp op, const Emitter &e);
mlir::LogicalResult emitCosine(CosineOp op, const Emitter &e);
mlir::LogicalResult emitDecide(DecideOp op, const Emitter &e);
mlir::LogicalResult emitSample(SampleOp op, const Emitter &e);
mlir::LogicalResult emitCopy(CopyOp op, const Emitter &e);
mlir::LogicalResult emitOr(OrOp op, const Emitter &e);
mlir::LogicalResult emitMarkDepth(MarkDepthOp op, const Emitter &e);

KernelNeeds linearNeeds(LinearOp op, const KernelContext &context);
KernelNeeds attendNeeds(AttendOp op, const KernelContext &context);
KernelNeeds sampleNeeds(SampleOp op);

/// The weight of an operand, which must be in plain f32. Fails with a
/// diagnostic.
mlir::FailureOr<WeightRef> plainWeight(mlir::Operation *op, const Emitter &e,
                                       Value weight);

/// Base of the pages of a KV level, and of the page that holds a position.
struct KVAccess {
  KVAccess(Kernel &k, const KVRef &kv);
  /// Start of this layer in page `index` of the sequence.
  Value page(Value sequence, Value index);
  Value keys(Value page, Value head);   ///< [headDim][page]
  Value values(Value page, Value head); ///< [page][headDim]

  Kernel &k;
  const KVRef &kv;
  Value pages, table, stride, layerOffset, pageBytes;
};

} // namespace adaptive::kernels

#endif // ADAPTIVE_LIB_CONVERSION_KERNELS_EMIT_H

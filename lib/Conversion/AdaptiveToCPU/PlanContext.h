// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Answers the kernel builders' questions from a plan.

#ifndef ADAPTIVE_LIB_CONVERSION_CPU_PLANCONTEXT_H
#define ADAPTIVE_LIB_CONVERSION_CPU_PLANCONTEXT_H

#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"

namespace adaptive::cpu {

class PlanContext : public KernelContext {
public:
  /// `layers` is null outside block bodies.
  PlanContext(const CodePlan &plan, const LinePlan &line,
              const LayersPlan *layers)
      : plan(plan), line(line), layers(layers) {}

  RowBuffer buffer(mlir::Value rows) const override {
    return line.buffers.lookup(rows);
  }

  WeightRef weight(mlir::Value value) const override {
    WeightRef ref;
    if (auto argument = llvm::dyn_cast<mlir::BlockArgument>(value)) {
      ref.index = argument.getArgNumber() - 1;
      ref.perLayer = true;
      ref.packing = plan.weights[layers->firstWeight + ref.index].packing;
      return ref;
    }
    auto use = value.getDefiningOp<UseOp>();
    ref.index = plan.weightIndex.lookup(use.getWeight());
    ref.packing = plan.weights[ref.index].packing;
    return ref;
  }

  RowBuffer scratch(mlir::Operation *op) const override {
    return line.scratch.lookup(op);
  }

  KVRef kv(mlir::Operation *) const override {
    return layers ? layers->kv : KVRef();
  }

private:
  const CodePlan &plan;
  const LinePlan &line;
  const LayersPlan *layers;
};

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_CPU_PLANCONTEXT_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-prepare-function: composite ops become plain linalg, and elementwise
// ops join the op that reads them, where that computes nothing twice.
//
//   %a = linalg.exp(%x); %b = linalg.add(%a, %y); linalg.softmax(%b)
//   -> linalg.generic { exp, addf }; reductions and generics of the softmax

#include "AdaptiveDialect/Conversion/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/Transforms.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace adaptive {
#define GEN_PASS_DEF_PREPAREFUNCTION
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// linalg.softmax and its like into ops that loops can be made of.
static LogicalResult decomposeAggregates(func::FuncOp main) {
  SmallVector<linalg::AggregatedOpInterface> work;
  main.walk([&](linalg::AggregatedOpInterface op) { work.push_back(op); });
  IRRewriter rewriter(main.getContext());
  for (linalg::AggregatedOpInterface op : work) {
    rewriter.setInsertionPoint(op);
    FailureOr<SmallVector<Value>> values = op.decomposeOperation(rewriter);
    if (failed(values))
      return op->emitError("'")
             << op->getName() << "' cannot be compiled for the CPU";
    rewriter.replaceOp(op, *values);
  }
  return success();
}

/// A producer is computed again for each point of the consumer that reads it,
/// so the consumer must read each of its values once, and it alone.
static bool mayFuse(OpOperand *operand) {
  Operation *producer = operand->get().getDefiningOp();
  auto consumer = dyn_cast<linalg::GenericOp>(operand->getOwner());
  if (!producer || !consumer || !producer->hasOneUse())
    return false;
  AffineMap map = consumer.getMatchingIndexingMap(operand);
  return map.isPermutation();
}

namespace {
struct PrepareFunction : adaptive::impl::PrepareFunctionBase<PrepareFunction> {
  void runOnOperation() override {
    func::FuncOp main = *getOperation().getOps<func::FuncOp>().begin();
    // No flag of a producer may change what a sum is.
    main.walk([](arith::ArithFastMathInterface op) {
      op->setAttr(op.getFastMathAttrName(),
                  arith::FastMathFlagsAttr::get(op.getContext(),
                                                arith::FastMathFlags::none));
    });
    if (failed(decomposeAggregates(main)))
      return signalPassFailure();
    RewritePatternSet named(&getContext());
    tensor::populateDecomposeTensorConcatPatterns(named);
    linalg::populateLinalgNamedOpsGeneralizationPatterns(named);
    if (failed(applyPatternsGreedily(main, std::move(named))))
      return signalPassFailure();
    RewritePatternSet fusion(&getContext());
    linalg::populateElementwiseOpsFusionPatterns(fusion, mayFuse);
    if (failed(applyPatternsGreedily(main, std::move(fusion))))
      return signalPassFailure();
  }
};
} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Folds and canonicalizations: rewrites that hold for every model, so that
// passes need not look for the degenerate forms they leave behind.

#include "AdaptiveDialect/IR/Adaptive.h"

#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace adaptive;

/// select(m, a, a) is a; a select under another of the same mask is decided.
OpFoldResult SelectOp::fold(FoldAdaptor) {
  if (getTrueValue() == getFalseValue())
    return getTrueValue();
  auto whenTrue = getTrueValue().getDefiningOp<SelectOp>();
  if (whenTrue && whenTrue.getMask() == getMask()) {
    getTrueValueMutable().assign(whenTrue.getTrueValue());
    return getResult();
  }
  auto whenFalse = getFalseValue().getDefiningOp<SelectOp>();
  if (whenFalse && whenFalse.getMask() == getMask()) {
    getFalseValueMutable().assign(whenFalse.getFalseValue());
    return getResult();
  }
  return {};
}

OpFoldResult OrOp::fold(FoldAdaptor) {
  return getLhs() == getRhs() ? OpFoldResult(getLhs()) : OpFoldResult();
}

/// A region that yields one of its arguments is that operand, unless the
/// operand is broadcast.
OpFoldResult MapOp::fold(FoldAdaptor) {
  auto yield = dyn_cast<YieldOp>(getBody().front().getTerminator());
  if (!yield || yield.getValues().size() != 1)
    return {};
  auto argument = dyn_cast<BlockArgument>(yield.getValues()[0]);
  if (!argument || argument.getOwner() != &getBody().front())
    return {};
  Value input = getInputs()[argument.getArgNumber()];
  return input.getType() == getResult().getType() ? OpFoldResult(input)
                                                  : OpFoldResult();
}

/// No layers: the state goes through.
OpFoldResult LayersOp::fold(FoldAdaptor) {
  return getWeights().empty() ? OpFoldResult(getInput()) : OpFoldResult();
}

OpFoldResult RecurseOp::fold(FoldAdaptor) {
  return getWeights().empty() ? OpFoldResult(getInput()) : OpFoldResult();
}

namespace {
/// Joins `layers` with the `layers` just before it when together they are one
/// run of unrolled layers through one block and nothing else sees the state in
/// between. Only a direct neighbour is joined: an op in between may let rows
/// leave, and what follows it must not run for them.
struct JoinLayers : OpRewritePattern<LayersOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(LayersOp op,
                                PatternRewriter &rewriter) const override {
    auto before = op.getInput().getDefiningOp<LayersOp>();
    if (!before || before->getNextNode() != op || !before->hasOneUse())
      return failure();
    if (before.getCallee() != op.getCallee() ||
        before.getKvOnly() != op.getKvOnly() ||
        before.getKeep() != op.getKeep() ||
        before.getFrozen() != op.getFrozen() ||
        int64_t(before.getFirst()) + before.getNumLayers() !=
            int64_t(op.getFirst()))
      return failure();
    // Attributes of other passes may hold for one half only.
    if (before->getDiscardableAttrDictionary() !=
        op->getDiscardableAttrDictionary())
      return failure();
    SmallVector<Attribute> weights(before.getWeights().begin(),
                                   before.getWeights().end());
    llvm::append_range(weights, op.getWeights());
    rewriter.modifyOpInPlace(op, [&] {
      op.getInputMutable().assign(before.getInput());
      op.setFirst(before.getFirst());
      op.setWeightsAttr(rewriter.getArrayAttr(weights));
      op->setLoc(rewriter.getFusedLoc({before.getLoc(), op.getLoc()}));
    });
    rewriter.eraseOp(before);
    return success();
  }
};
} // namespace

void LayersOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                           MLIRContext *context) {
  patterns.add<JoinLayers>(context);
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chooses the format of every weight from what reads it.

#include "AdaptiveDialect/Transforms/Passes.h"
#include "AdaptiveDialect/Transforms/WeightFormats.h"

namespace adaptive {
#define GEN_PASS_DEF_PACKWEIGHTS
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// True when `value` is the matrix of a linear or the table of an embedding.
static bool isMatrixUse(Value value) {
  return llvm::any_of(value.getUses(), [&](OpOperand &use) {
    if (auto linear = dyn_cast<LinearOp>(use.getOwner()))
      return llvm::is_contained(linear.getWeights(), value);
    return isa<EmbedOp>(use.getOwner()) && use.getOperandNumber() == 1;
  });
}

namespace {
struct PackWeights : adaptive::impl::PackWeightsBase<PackWeights> {
  using Base::Base;

  void runOnOperation() override {
    StringRef headName = headFormat(format, head);
    for (StringRef name : {StringRef(format), headName})
      if (!isWeightFormat(name)) {
        getOperation().emitError(
            "weight format must be f32, bf16, q8 or q4, but got '")
            << name << "'";
        return signalPassFailure();
      }
    WeightFormat ofLayers = *symbolizeWeightFormat(format);
    WeightFormat ofHead = *symbolizeWeightFormat(headName);

    SymbolTable symbols(getOperation());
    auto assign = [&](StringRef name, WeightFormat chosen) {
      auto weight = symbols.lookup<WeightOp>(name);
      // A matrix that a head reads as well keeps the head's format.
      if (weight && weight.getFormat() == WeightFormat::Plain)
        weight.setFormat(chosen);
    };
    for (auto op : getOperation().getOps<WeightOp>())
      op.setFormat(WeightFormat::Plain);
    getOperation().walk([&](UseOp use) {
      if (isMatrixUse(use.getResult()))
        assign(use.getWeight(), ofHead);
    });
    getOperation().walk([&](LayersOp layers) {
      auto block = symbols.lookup<BlockOp>(layers.getCallee());
      for (BlockArgument argument : block.getBody().getArguments().drop_front())
        if (isMatrixUse(argument))
          for (Attribute entry : layers.getWeights())
            assign(cast<FlatSymbolRefAttr>(
                       cast<ArrayAttr>(entry)[argument.getArgNumber() - 1])
                       .getValue(),
                   ofLayers);
    });
  }
};
} // namespace

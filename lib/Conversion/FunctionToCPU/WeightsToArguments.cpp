// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-weights-to-arguments: the function takes its weights as arguments.
//
//   func @main(%x) { %w = adaptive.use @w ... }
//   -> func @main(%x {bufferization.writable = false},
//                 %w {bufferization.writable = false}) { ... }
//
// They become tensors like any other; the entry point feeds them from the
// weight table. Neither inputs nor weights may be written in place.

#include "AdaptiveDialect/Conversion/CPU/Function.h"
#include "AdaptiveDialect/Conversion/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace adaptive {
#define GEN_PASS_DEF_WEIGHTSTOARGUMENTS
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// Replaces the uses of a weight. Stored tensors may have unsigned elements;
/// tensor.bitcast gives their bits a type that arith knows, and goes here.
static void replaceUse(UseOp use, Value weight) {
  for (Operation *user : llvm::make_early_inc_range(use->getUsers()))
    if (auto cast = dyn_cast<tensor::BitcastOp>(user);
        cast && cast.getType() == weight.getType())
      cast.replaceAllUsesWith(weight), cast.erase();
  if (use.getType() == weight.getType())
    use.replaceAllUsesWith(weight);
  use.erase();
}

/// The type with signless integers.
static Type signless(RankedTensorType type) {
  auto integer = dyn_cast<IntegerType>(type.getElementType());
  if (!integer || integer.isSignless())
    return type;
  return type.clone(IntegerType::get(type.getContext(), integer.getWidth()));
}

namespace {
struct WeightsToArguments
    : adaptive::impl::WeightsToArgumentsBase<WeightsToArguments> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto names = cpu::functionSignature(module).weights;
    func::FuncOp main = *module.getOps<func::FuncOp>().begin();
    llvm::StringMap<SmallVector<UseOp>> uses;
    main.walk([&](UseOp use) { uses[use.getWeight()].push_back(use); });
    for (const std::string &name : names) {
      SmallVector<UseOp> &ofName = uses[name];
      Type type = signless(ofName.front().getType());
      unsigned index = main.getNumArguments();
      if (failed(main.insertArgument(index, type, {}, ofName.front().getLoc())))
        return signalPassFailure();
      for (UseOp use : ofName)
        replaceUse(use, main.getArgument(index));
    }
    auto no = BoolAttr::get(&getContext(), false);
    for (unsigned i = 0; i < main.getNumArguments(); ++i)
      main.setArgAttr(i, "bufferization.writable", no);
  }
};
} // namespace

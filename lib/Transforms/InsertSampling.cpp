// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Makes sampling part of the model:
//
//   yield %logits   ->   %t = sample %logits ; yield %t

#include "AdaptiveDialect/Transforms/Passes.h"

namespace adaptive {
#define GEN_PASS_DEF_INSERTSAMPLING
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
struct InsertSampling : adaptive::impl::InsertSamplingBase<InsertSampling> {
  void runOnOperation() override {
    for (auto model : getOperation().getOps<ModelOp>()) {
      auto yield = cast<YieldOp>(model.getBody().front().getTerminator());
      Value result = yield.getValues()[0];
      if (cast<RankedTensorType>(result.getType()).getRank() != 2)
        continue; // already token ids
      OpBuilder builder(yield);
      auto ids =
          RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
      yield->setOperand(0,
                        SampleOp::create(builder, yield.getLoc(), ids, result));
    }
  }
};
} // namespace

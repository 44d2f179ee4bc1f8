// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-verify-lowering: says which exit lowering left exit points, before
// a backend finds itself without a kernel for them. Changes nothing.

#include "AdaptiveDialect/Transforms/Passes.h"

namespace adaptive {
#define GEN_PASS_DEF_VERIFYLOWERING
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
struct VerifyLowering : adaptive::impl::VerifyLoweringBase<VerifyLowering> {
  using Base::Base;

  void runOnOperation() override {
    int64_t left = 0;
    Operation *first = nullptr;
    getOperation().walk([&](ExitPointOpInterface exit) {
      first = first ? first : exit.getOperation();
      ++left;
    });
    if (!first)
      return;
    emitError(first->getLoc())
        << "exit lowering '" << lowering << "' left " << left
        << (left == 1 ? " exit point" : " exit points")
        << " unlowered; accepted are masked, grouped, or a pass that lowers "
           "every exit point";
    signalPassFailure();
  }
};
} // namespace

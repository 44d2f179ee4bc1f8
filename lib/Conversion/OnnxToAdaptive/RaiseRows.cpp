// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-raise-rows: the carrier function becomes a model over rows.
//
//   func @main(%ids: [b, s], %past...) { MatMul, Reshape, Softmax, ... }
//   -> adaptive.model @main { ^bb0(%ids: tensor<?xi32>): embed, norm, linear,
//   attend, ... }

#include "AdaptiveDialect/Conversion/Passes.h"
#include "Raiser.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

#include <limits>

namespace adaptive {
#define GEN_PASS_DEF_RAISEROWS
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
struct RaiseRows : adaptive::impl::RaiseRowsBase<RaiseRows> {
  using RaiseRowsBase::RaiseRowsBase;

  void runOnOperation() override {
    func::FuncOp main;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPublic() && !function.isExternal()) {
        if (main) {
          emitError(function.getLoc(),
                    "only one graph can be raised, but the module has two");
          return signalPassFailure();
        }
        main = function;
      }
    if (!main)
      return; // raised already
    if (maxPosition < 0 || maxPosition > std::numeric_limits<int32_t>::max()) {
      emitError(main.getLoc(), "max-position must lie in [1, 2^31), but got ")
          << maxPosition;
      return signalPassFailure();
    }
    if (failed(raising::Raiser(main, maxPosition).run()))
      return signalPassFailure();
    // Reference bodies of ai.adaptive operators have done their work.
    for (auto function :
         llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>()))
      if (function.isPrivate() && function->hasAttr("onnx.function"))
        function.erase();
  }
};
} // namespace

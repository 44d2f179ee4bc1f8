// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-to-linalg: kernel ops as linalg, arith, math and tensor. The result
// says what an op means, without any choice that a backend makes: it is the
// oracle of all kernels.
//
//   func @f(%x: tensor<?x8xf32>, %c: tensor<64x2xf32>, %s: tensor<64x2xf32>) {
//     %y = adaptive.rope %x, %c, %s head_dim 4
//     return %y
//   }
//   -> func @f(%x, %c, %s, %position {adaptive.column = "position"}) {
//        %y = linalg.generic ...
//        return %y
//      }

#include "Decomposer.h"

#include "AdaptiveDialect/Conversion/Passes.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

namespace adaptive {
#define GEN_PASS_DEF_ADAPTIVETOLINALG
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

bool oracle::hasDecomposition(Operation *op) {
  return isa<EmbedOp, NormOp, RopeOp, SampleOp, CopyOp, LinearOp, MapOp,
             CriteriaOp, ProbeOp, CosineOp, DecideOp, ExitOp, SelectOp, OrOp,
             MarkDepthOp, KVAppendOp, AttendOp>(op);
}

namespace {
struct AdaptiveToLinalg
    : adaptive::impl::AdaptiveToLinalgBase<AdaptiveToLinalg> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && failed(Decomposer(function).run()))
        return signalPassFailure();
  }
};
} // namespace

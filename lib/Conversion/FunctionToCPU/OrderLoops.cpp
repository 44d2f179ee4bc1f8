// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-order-loops: a loop that walks memory in order becomes the innermost
// one, so that it can be vectorised.
//
//   for m, n, k: c[m, n] += a[m, k] * b[k, n]     (a sum is a chain of adds)
//   -> for m, k, n: c[m, n] += a[m, k] * b[k, n]  (n: neighbours of b and c)
//
// Copies between buffers with strides become such generics first.
// Reductions keep their order among each other, so every sum adds the same
// terms in the same order.

#include "AdaptiveDialect/Conversion/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace adaptive {
#define GEN_PASS_DEF_ORDERLOOPS
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// How far apart in memory an operand's elements lie for neighbours in `dim`.
enum class Step { None, One, Far };

/// True for an expression that grows by one when `dim` does.
static bool growsByOne(AffineExpr expr, unsigned dim) {
  if (auto d = dyn_cast<AffineDimExpr>(expr))
    return d.getPosition() == dim;
  auto sum = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!sum || sum.getKind() != AffineExprKind::Add)
    return false;
  bool left = sum.getLHS().isFunctionOfDim(dim),
       right = sum.getRHS().isFunctionOfDim(dim);
  return left != right && growsByOne(left ? sum.getLHS() : sum.getRHS(), dim);
}

static Step stepOf(AffineMap map, unsigned dim) {
  Step step = Step::None;
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    if (!expr.isFunctionOfDim(dim))
      continue;
    if (i + 1 != map.getNumResults() || !growsByOne(expr, dim))
      return Step::Far;
    step = Step::One;
  }
  return step;
}

/// The loop to put innermost, or nothing where the order is good.
static std::optional<unsigned> innermost(linalg::GenericOp op) {
  SmallVector<AffineMap> maps = op.getIndexingMapsArray();
  SmallVector<utils::IteratorType> kinds = op.getIteratorTypesArray();
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  for (unsigned dim = op.getNumLoops(); dim-- > 0;) {
    // Few iterations are not worth a vector loop.
    if (kinds[dim] != utils::IteratorType::parallel ||
        (!ShapedType::isDynamic(ranges[dim]) && ranges[dim] < 4))
      continue;
    bool inOrder = llvm::all_of(
        maps, [&](AffineMap map) { return stepOf(map, dim) != Step::Far; });
    bool writes = llvm::all_of(
        ArrayRef(maps).take_back(op.getNumDpsInits()),
        [&](AffineMap map) { return stepOf(map, dim) == Step::One; });
    if (inOrder && writes)
      return dim + 1 == op.getNumLoops() ? std::nullopt
                                         : std::optional<unsigned>(dim);
  }
  return std::nullopt;
}

/// Copies between buffers with strides would call a library; as generics they
/// are loops. Plain ones become memcpy.
static void expandCopies(ModuleOp module) {
  SmallVector<memref::CopyOp> work;
  module.walk([&](memref::CopyOp op) {
    auto isPlain = [](Value buffer) {
      return cast<MemRefType>(buffer.getType()).getLayout().isIdentity();
    };
    if (!isPlain(op.getSource()) || !isPlain(op.getTarget()))
      work.push_back(op);
  });
  for (memref::CopyOp op : work) {
    OpBuilder builder(op);
    linalg::makeMemRefCopyOp(builder, op.getLoc(), op.getSource(),
                             op.getTarget());
    op.erase();
  }
}

namespace {
struct OrderLoops : adaptive::impl::OrderLoopsBase<OrderLoops> {
  void runOnOperation() override {
    expandCopies(getOperation());
    SmallVector<linalg::GenericOp> work;
    getOperation().walk([&](linalg::GenericOp op) { work.push_back(op); });
    IRRewriter rewriter(&getContext());
    for (linalg::GenericOp op : work) {
      std::optional<unsigned> last = innermost(op);
      if (!last)
        continue;
      SmallVector<unsigned> order;
      for (unsigned dim = 0; dim < op.getNumLoops(); ++dim)
        if (dim != *last)
          order.push_back(dim);
      order.push_back(*last);
      rewriter.setInsertionPoint(op);
      if (failed(linalg::interchangeGenericOp(rewriter, op, order)))
        op.emitRemark("loops stay in their order");
    }
  }
};
} // namespace

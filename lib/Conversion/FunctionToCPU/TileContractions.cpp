// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-tile-contractions: matrix products on buffers with the sums of a
// tile in registers.
//
//   linalg.generic c[m, n] += a[m, k] * b[k, n]
//   -> for n0 by columns: pack b[:, n0 .. n0 + columns] side by side, zero
//   padded
//        for m0 by rows: acc[rows] = 0
//          for k: acc[i] = fma(a[m0 + i, k], packed[k], acc[i])
//          c[m0 + i, n0 + j] += acc[i][j]
//
// Packing makes every layout of b the same, and the padding every width. Loops
// over further dimensions stand around this. Each element of c is one chain of
// multiply-adds over k, whatever the sizes.

#include "AdaptiveDialect/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/IR/LinalgInterfaces.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace adaptive {
#define GEN_PASS_DEF_TILECONTRACTIONS
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// True for a body that yields out + in0 * in1 on f32 or f64.
static bool multipliesAndAdds(linalg::GenericOp op) {
  Block &body = *op.getBlock();
  if (op.getNumDpsInputs() != 2 || op.getNumDpsInits() != 1 ||
      body.getOperations().size() != 3)
    return false;
  auto sum = dyn_cast_or_null<arith::AddFOp>(
      body.getTerminator()->getOperand(0).getDefiningOp());
  if (!sum || !(sum.getType().isF32() || sum.getType().isF64()))
    return false;
  Value out = body.getArgument(2);
  Value term = sum.getLhs() == out   ? sum.getRhs()
               : sum.getRhs() == out ? sum.getLhs()
                                     : Value();
  auto product =
      term ? dyn_cast_or_null<arith::MulFOp>(term.getDefiningOp()) : nullptr;
  auto isInputs = [&](Value x, Value y) {
    return x == body.getArgument(0) && y == body.getArgument(1);
  };
  return product && (isInputs(product.getLhs(), product.getRhs()) ||
                     isInputs(product.getRhs(), product.getLhs()));
}

namespace {
/// One contraction. Loops are named by their position in the generic.
class Contraction {
public:
  Contraction(linalg::GenericOp op, const linalg::ContractionDimensions &dims,
              int64_t rows, int64_t columns)
      : op(op), b(op.getLoc(), op), rows(rows), columns(columns),
        lhs(op.getDpsInputOperand(0)), rhs(op.getDpsInputOperand(1)),
        out(op.getDpsInitOperand(0)) {
    SmallVector<unsigned> m(ArrayRef(dims.m)), n(ArrayRef(dims.n));
    // A product with a vector on the right is one with a vector on the left.
    if (n.empty()) {
      std::swap(m, n);
      std::swap(lhs, rhs);
    }
    column = n.pop_back_val();
    sum = dims.k.back();
    if (!m.empty())
      row = m.pop_back_val();
    around.append(dims.batch.begin(), dims.batch.end());
    around.append(n.begin(), n.end());
    around.append(dims.k.begin(), std::prev(dims.k.end()));
    inside = m;
    element = cast<MemRefType>(out->get().getType()).getElementType();
    vector = VectorType::get({columns}, element);
  }

  void emit() {
    zero = index(0);
    one = index(1);
    position.assign(op.getNumLoops(), zero);
    findExtents();
    Value depth = extent(sum);
    packed = memref::AllocOp::create(
        b, MemRefType::get({ShapedType::kDynamic, columns}, element),
        ValueRange{depth});
    // The tile on its way into the result, on the stack of the function.
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(
          &op->getParentOfType<func::FuncOp>().getBody().front());
      tile = memref::AllocaOp::create(b, MemRefType::get({columns}, element));
    }
    loops(around, [&] {
      loop(zero, extent(column), columns, [&](Value first) {
        position[column] = first;
        width = arith::MinSIOp::create(b, index(columns),
                                       sub(extent(column), first).getResult());
        pack(first, depth);
        loops(inside, [&] { allRows(depth); });
      });
    });
    memref::DeallocOp::create(b, packed);
    op.erase();
  }

private:
  Value index(int64_t value) {
    return arith::ConstantIndexOp::create(b, value);
  }
  arith::SubIOp sub(Value x, Value y) { return arith::SubIOp::create(b, x, y); }
  Value add(Value x, Value y) { return arith::AddIOp::create(b, x, y); }

  /// Iterations of every loop: the size of an operand that it walks.
  void findExtents() {
    extents.resize(op.getNumLoops());
    for (OpOperand *operand : {lhs, rhs, out}) {
      AffineMap map = op.getMatchingIndexingMap(operand);
      for (auto [i, expr] : llvm::enumerate(map.getResults())) {
        Value &size = extents[cast<AffineDimExpr>(expr).getPosition()];
        if (!size)
          size = memref::DimOp::create(b, operand->get(), i);
      }
    }
  }
  Value extent(unsigned dim) { return extents[dim]; }

  /// Where an operand lies at the present position.
  SmallVector<Value> indices(OpOperand *operand) {
    SmallVector<Value> result;
    for (AffineExpr expr : op.getMatchingIndexingMap(operand).getResults())
      result.push_back(position[cast<AffineDimExpr>(expr).getPosition()]);
    return result;
  }

  void loop(Value from, Value to, int64_t step,
            llvm::function_ref<void(Value)> body) {
    auto loop = scf::ForOp::create(b, from, to, index(step));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    body(loop.getInductionVar());
  }

  void loops(ArrayRef<unsigned> dims, llvm::function_ref<void()> body) {
    if (dims.empty())
      return body();
    loop(zero, extent(dims.front()), 1, [&](Value at) {
      position[dims.front()] = at;
      loops(dims.drop_front(), body);
    });
  }

  /// Is the sum the fastest dimension of the right side in memory?
  bool sumIsInner() {
    AffineMap map = op.getMatchingIndexingMap(rhs);
    return map.getResult(map.getNumResults() - 1) ==
           getAffineDimExpr(sum, op.getContext());
  }

  void pack(Value first, Value depth) {
    auto copy = [&](Value k, Value j) {
      position[sum] = k;
      position[column] = add(first, j);
      Value value = memref::LoadOp::create(b, rhs->get(), indices(rhs));
      memref::StoreOp::create(b, value, packed, ValueRange{k, j});
    };
    if (sumIsInner())
      loop(zero, width, 1, [&](Value j) {
        loop(zero, depth, 1, [&](Value k) { copy(k, j); });
      });
    else
      loop(zero, depth, 1, [&](Value k) {
        loop(zero, width, 1, [&](Value j) { copy(k, j); });
      });
    // Nothing to do but in the last strip.
    Value nothing = arith::ConstantOp::create(b, b.getZeroAttr(element));
    loop(zero, depth, 1, [&](Value k) {
      loop(width, index(columns), 1, [&](Value j) {
        memref::StoreOp::create(b, nothing, packed, ValueRange{k, j});
      });
    });
    position[column] = first;
  }

  void allRows(Value depth) {
    if (!row)
      return someRows(zero, 1, depth);
    Value count = extent(*row);
    Value rest = arith::RemUIOp::create(b, count, index(rows));
    Value whole = sub(count, rest);
    loop(zero, whole, rows, [&](Value m) { someRows(m, rows, depth); });
    loop(whole, count, 1, [&](Value m) { someRows(m, 1, depth); });
  }

  /// A tile of `count` rows from `first` on.
  void someRows(Value first, int64_t count, Value depth) {
    Value nothing = arith::ConstantOp::create(b, b.getZeroAttr(vector));
    SmallVector<Value> start(count, nothing), where;
    for (int64_t i = 0; i < count; ++i)
      where.push_back(i ? add(first, index(i)) : first);
    auto sums = scf::ForOp::create(b, zero, depth, one, start);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(sums.getBody());
      Value k = sums.getInductionVar();
      position[sum] = k;
      Value right =
          vector::LoadOp::create(b, vector, packed, ValueRange{k, zero});
      SmallVector<Value> next;
      for (int64_t i = 0; i < count; ++i) {
        if (row)
          position[*row] = where[i];
        Value left = memref::LoadOp::create(b, lhs->get(), indices(lhs));
        Value wide = vector::BroadcastOp::create(b, vector, left);
        next.push_back(
            math::FmaOp::create(b, wide, right, sums.getRegionIterArg(i)));
      }
      scf::YieldOp::create(b, next);
    }
    Value firstColumn = position[column];
    for (int64_t i = 0; i < count; ++i) {
      if (row)
        position[*row] = where[i];
      vector::StoreOp::create(b, sums.getResult(i), tile, ValueRange{zero});
      loop(zero, width, 1, [&](Value j) {
        position[column] = add(firstColumn, j);
        SmallVector<Value> at = indices(out);
        Value old = memref::LoadOp::create(b, out->get(), at);
        Value part = memref::LoadOp::create(b, tile, ValueRange{j});
        Value total = arith::AddFOp::create(b, old, part);
        memref::StoreOp::create(b, total, out->get(), at);
      });
      position[column] = firstColumn;
    }
  }

  linalg::GenericOp op;
  ImplicitLocOpBuilder b;
  int64_t rows, columns;
  OpOperand *lhs, *rhs, *out;
  unsigned column = 0, sum = 0;
  std::optional<unsigned> row;
  SmallVector<unsigned> around, inside;
  Type element;
  VectorType vector;
  Value zero, one, packed, tile, width;
  SmallVector<Value> position;
  SmallVector<Value> extents;
};

struct TileContractions
    : adaptive::impl::TileContractionsBase<TileContractions> {
  using TileContractionsBase::TileContractionsBase;

  void runOnOperation() override {
    SmallVector<linalg::GenericOp> work;
    getOperation().walk([&](linalg::GenericOp op) { work.push_back(op); });
    for (linalg::GenericOp op : work) {
      if (!multipliesAndAdds(op) ||
          !llvm::all_of(op.getIndexingMapsArray(), [](AffineMap map) {
            return map.isProjectedPermutation();
          }))
        continue;
      auto dims = linalg::inferContractionDims(op);
      if (failed(dims) || dims->k.empty() ||
          (dims->m.empty() && dims->n.empty()) ||
          dims->m.size() + dims->n.size() + dims->k.size() +
                  dims->batch.size() !=
              op.getNumLoops())
        continue;
      bool isF64 = getElementTypeOrSelf(op.getDpsInits()[0]).isF64();
      Contraction(op, *dims, rows, isF64 ? columns / 2 : columns).emit();
    }
  }
};
} // namespace

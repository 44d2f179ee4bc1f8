// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products with weights, and elementwise regions: linear, map.

#include "Decomposer.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

/// Rows are indexed by both loops, a vector (bias) by the second.
static Decomposer::Input operand(Value value) {
  if (cast<RankedTensorType>(value.getType()).getRank() == 2)
    return {value, {0, 1}};
  return {value, {1}};
}

static SmallVector<OpFoldResult> rowsOf(Value like, int64_t width,
                                        Decomposer &d) {
  return {d.extent(like, 0), d.b.getIndexAttr(width)};
}

/// y[i, n] = sum_k x[i, k] w[n, k], in f64, rounded once.
static Value product(Value x, Value weight, Decomposer &d) {
  int64_t outputs = cast<RankedTensorType>(weight.getType()).getDimSize(0);
  auto shape = rowsOf(x, outputs, d);
  Value sums = d.reduce(
      {{x, {0, 2}}, {weight, {1, 2}}}, shape, 1, d.constant(0, d.f64()),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        Value term = arith::MulFOp::create(b, d.wide(b, e[0]), d.wide(b, e[1]));
        return arith::AddFOp::create(b, e[2], term);
      });
  return d.elementwise(
      {{sums, {0, 1}}}, shape, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) { return d.narrow(b, e[0]); });
}

static void decompose(LinearOp op, Decomposer &d) {
  SmallVector<Value> products;
  for (Value weight : op.getWeights())
    products.push_back(product(op.getInput(), weight, d));
  if (op.getEpilogue().empty()) {
    op->replaceAllUsesWith(products);
    return;
  }
  SmallVector<Decomposer::Input> inputs;
  for (Value value : products)
    inputs.push_back(operand(value));
  for (Value extra : op.getExtras())
    inputs.push_back(operand(extra));
  int64_t width =
      cast<RankedTensorType>(op.getOutputs()[0].getType()).getDimSize(1);
  Value y = d.elementwise(inputs, rowsOf(op.getInput(), width, d), d.f32(),
                          [&](ImplicitLocOpBuilder &b, ValueRange e) {
                            return d.inlined(b, op.getEpilogue(), e);
                          });
  op.getOutputs()[0].replaceAllUsesWith(y);
}

static void decompose(MapOp op, Decomposer &d) {
  SmallVector<Decomposer::Input> inputs;
  Value rows;
  for (Value value : op.getInputs()) {
    inputs.push_back(operand(value));
    if (cast<RankedTensorType>(value.getType()).getRank() == 2)
      rows = value;
  }
  int64_t width =
      cast<RankedTensorType>(op.getResult().getType()).getDimSize(1);
  Value y = d.elementwise(inputs, rowsOf(rows, width, d), d.f32(),
                          [&](ImplicitLocOpBuilder &b, ValueRange e) {
                            return d.inlined(b, op.getBody(), e);
                          });
  op.getResult().replaceAllUsesWith(y);
}

bool oracle::decomposeLinear(Operation *op, Decomposer &d) {
  if (auto linear = dyn_cast<LinearOp>(op))
    decompose(linear, d);
  else if (auto map = dyn_cast<MapOp>(op))
    decompose(map, d);
  else
    return false;
  return true;
}

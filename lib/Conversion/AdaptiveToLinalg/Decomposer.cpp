// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Walks a function and gives the decompositions columns, KV and loop nests.

#include "Decomposer.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

static constexpr StringRef columnName = "adaptive.column";

Decomposer::Decomposer(func::FuncOp function)
    : b(function.getLoc(), function.getContext()), function(function) {}

LogicalResult Decomposer::run() {
  SmallVector<Operation *> ops;
  bool known = true;
  function.walk([&](Operation *op) {
    if (!isa_and_nonnull<AdaptiveDialect>(op->getDialect()) || isa<YieldOp>(op))
      return;
    ops.push_back(op);
    if (hasDecomposition(op) && op->getParentOp() == function)
      return;
    op->emitOpError("has no decomposition: accepted are kernel ops in the body "
                    "of a function, with weights as arguments");
    known = false;
  });
  if (!known)
    return failure();
  if (ops.empty())
    return success();
  if (!function.getBody().hasOneBlock())
    return function.emitError("a function with control flow is not decomposed");
  replaceKVArguments();
  for (Operation *op : ops) {
    b.setInsertionPoint(op);
    b.setLoc(op->getLoc());
    bool done = decomposeRows(op, *this) || decomposeLinear(op, *this) ||
                decomposeScores(op, *this) || decomposeExits(op, *this) ||
                decomposeKV(op, *this);
    if (!done)
      return op->emitOpError("has no decomposition");
  }
  // Uses come after definitions, and KV values have no replacement.
  for (Operation *op : llvm::reverse(ops))
    op->erase();
  finish();
  return success();
}

//===----------------------------------------------------------------------===//
// Columns and KV
//===----------------------------------------------------------------------===//

Value Decomposer::argument(Type type, StringRef name) {
  unsigned position = function.getNumArguments();
  auto attribute =
      b.getDictionaryAttr(b.getNamedAttr(columnName, b.getStringAttr(name)));
  (void)function.insertArgument(position, type, attribute, b.getLoc());
  return function.getArgument(position);
}

Value Decomposer::column(StringRef name) {
  Value &value = columns[b.getStringAttr(name)];
  if (!value) {
    SmallVector<int64_t> shape = {ShapedType::kDynamic};
    if (name == "policies")
      shape.push_back(64);
    value = argument(RankedTensorType::get(shape, b.getI32Type()), name);
  }
  return value;
}

void Decomposer::setColumn(StringRef name, Value value) {
  columns[b.getStringAttr(name)] = value;
  changed.insert(b.getStringAttr(name));
}

static RankedTensorType denseKV(KVType type, Type element) {
  int64_t any = ShapedType::kDynamic;
  return RankedTensorType::get({any, any, type.getHeads() * type.getHeadDim()},
                               element);
}

Decomposer::KV Decomposer::previousKV(KVType type) {
  Type dense = denseKV(type, f32());
  Value keys = argument(dense, "keys");
  return {keys, argument(dense, "values")};
}

void Decomposer::replaceKVArguments() {
  for (unsigned i = 0, e = function.getNumArguments(); i < e; ++i) {
    Value value = function.getArgument(i);
    auto type = dyn_cast<KVType>(value.getType());
    if (!type)
      continue;
    kvPlaces.push_back(i);
    kvs[value] = previousKV(type);
  }
}

Decomposer::KV Decomposer::kv(Value value) { return kvs.lookup(value); }

void Decomposer::setKV(Value value, KV kv) {
  kvs[value] = kv;
  appended.push_back(kv);
}

void Decomposer::finish() {
  auto terminator = cast<func::ReturnOp>(function.front().getTerminator());
  SmallVector<Value> values;
  SmallVector<Type> types;
  SmallVector<std::pair<unsigned, StringAttr>> named;
  for (Value value : terminator.getOperands())
    values.push_back(value);
  auto add = [&](Value value, StringAttr name) {
    named.push_back({unsigned(values.size()), name});
    values.push_back(value);
  };
  for (StringAttr name : changed)
    add(columns[name], name);
  for (KV kv : appended) {
    add(kv.keys, b.getStringAttr("keys"));
    add(kv.values, b.getStringAttr("values"));
  }
  terminator.getOperandsMutable().assign(values);
  for (Value value : values)
    types.push_back(value.getType());
  // From the last: indices of the others stay.
  for (unsigned place : llvm::reverse(kvPlaces))
    (void)function.eraseArgument(place);
  function.setFunctionType(
      b.getFunctionType(function.getBody().getArgumentTypes(), types));
  for (auto [place, name] : named)
    function.setResultAttr(place, columnName, name);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

Value Decomposer::constant(double value, Type type) {
  if (auto floats = dyn_cast<FloatType>(type)) {
    APFloat number(value);
    bool lost;
    number.convert(floats.getFloatSemantics(), APFloat::rmNearestTiesToEven,
                   &lost);
    return arith::ConstantOp::create(b, b.getFloatAttr(floats, number));
  }
  return arith::ConstantOp::create(b, b.getIntegerAttr(type, int64_t(value)));
}

Value Decomposer::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, value);
}

Value Decomposer::extent(Value tensor, int64_t dim) {
  return tensor::DimOp::create(b, tensor, dim);
}

Value Decomposer::filled(ArrayRef<OpFoldResult> shape, Value value) {
  Value empty = tensor::EmptyOp::create(b, shape, value.getType());
  return linalg::FillOp::create(b, value, empty).getResult(0);
}

Value Decomposer::element(ImplicitLocOpBuilder &b, Value tensor,
                          ValueRange indices) {
  return tensor::ExtractOp::create(b, tensor, indices);
}

Value Decomposer::split(Value rows, int64_t inner) {
  auto type = cast<RankedTensorType>(rows.getType());
  int64_t groups = type.getDimSize(1) / inner;
  auto result = RankedTensorType::get({ShapedType::kDynamic, groups, inner},
                                      type.getElementType());
  SmallVector<OpFoldResult> shape = {extent(rows, 0), b.getIndexAttr(groups),
                                     b.getIndexAttr(inner)};
  SmallVector<ReassociationIndices> parts = {{0}, {1, 2}};
  return tensor::ExpandShapeOp::create(b, result, rows, parts, shape);
}

Value Decomposer::join(Value groups) {
  SmallVector<ReassociationIndices> parts = {{0}, {1, 2}};
  return tensor::CollapseShapeOp::create(b, groups, parts);
}

Value Decomposer::asVector(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (type.getRank() == 1)
    return tensor;
  SmallVector<ReassociationIndices> parts = {{0, 1}};
  return tensor::CollapseShapeOp::create(b, tensor, parts);
}

//===----------------------------------------------------------------------===//
// Loop nests
//===----------------------------------------------------------------------===//

/// Maps of the inputs and then of `results` results over the first loops.
static SmallVector<AffineMap> maps(ArrayRef<Decomposer::Input> inputs,
                                   unsigned results, unsigned parallel,
                                   unsigned loops, MLIRContext *context) {
  SmallVector<AffineMap> list;
  for (const Decomposer::Input &input : inputs) {
    SmallVector<AffineExpr> exprs;
    for (unsigned dim : input.dims)
      exprs.push_back(getAffineDimExpr(dim, context));
    list.push_back(AffineMap::get(loops, 0, exprs, context));
  }
  for (unsigned i = 0; i < results; ++i)
    list.push_back(AffineMap::getMultiDimIdentityMap(loops, context)
                       .getMajorSubMap(parallel));
  return list;
}

static SmallVector<Value> nest(
    ImplicitLocOpBuilder &b, ArrayRef<Decomposer::Input> inputs,
    ValueRange initial, unsigned parallel, unsigned reductions,
    function_ref<SmallVector<Value>(ImplicitLocOpBuilder &, ValueRange)> body) {
  SmallVector<Value> tensors;
  for (const Decomposer::Input &input : inputs)
    tensors.push_back(input.tensor);
  SmallVector<utils::IteratorType> kinds(parallel,
                                         utils::IteratorType::parallel);
  kinds.append(reductions, utils::IteratorType::reduction);
  auto op = linalg::GenericOp::create(
      b, initial.getTypes(), tensors, initial,
      maps(inputs, initial.size(), parallel, parallel + reductions,
           b.getContext()),
      kinds, [&](OpBuilder &inner, Location loc, ValueRange elements) {
        ImplicitLocOpBuilder at(loc, inner);
        linalg::YieldOp::create(at, body(at, elements));
      });
  return SmallVector<Value>(op->getResults());
}

Value Decomposer::elementwise(ArrayRef<Input> inputs,
                              ArrayRef<OpFoldResult> shape, Type type,
                              Body body) {
  Value empty = tensor::EmptyOp::create(b, shape, type);
  return nest(b, inputs, empty, shape.size(), 0,
              [&](ImplicitLocOpBuilder &at, ValueRange elements) {
                return SmallVector<Value>{body(at, elements.drop_back())};
              })[0];
}

Value Decomposer::reduce(ArrayRef<Input> inputs, ArrayRef<OpFoldResult> shape,
                         unsigned reductions, Value initial, Body body) {
  return nest(b, inputs, filled(shape, initial), shape.size(), reductions,
              [&](ImplicitLocOpBuilder &at, ValueRange elements) {
                return SmallVector<Value>{body(at, elements)};
              })[0];
}

std::pair<Value, Value> Decomposer::reducePair(ArrayRef<Input> inputs,
                                               ArrayRef<OpFoldResult> shape,
                                               unsigned reductions,
                                               std::pair<Value, Value> initial,
                                               PairBody body) {
  SmallVector<Value> start = {filled(shape, initial.first),
                              filled(shape, initial.second)};
  auto results = nest(b, inputs, start, shape.size(), reductions,
                      [&](ImplicitLocOpBuilder &at, ValueRange elements) {
                        auto [first, second] = body(at, elements);
                        return SmallVector<Value>{first, second};
                      });
  return {results[0], results[1]};
}

std::pair<Value, Value> Decomposer::largest(Value rows) {
  return reducePair({{rows, {0, 1}}}, {extent(rows, 0)}, 1,
                    {constant(-INFINITY, f32()), constant(0, b.getI32Type())},
                    [&](ImplicitLocOpBuilder &at, ValueRange e) {
                      Value more = arith::CmpFOp::create(
                          at, arith::CmpFPredicate::OGT, e[0], e[1]);
                      Value here = arith::IndexCastOp::create(
                          at, at.getI32Type(), loop(at, 1));
                      return std::pair<Value, Value>(
                          arith::SelectOp::create(at, more, e[0], e[1]),
                          arith::SelectOp::create(at, more, here, e[2]));
                    });
}

Value Decomposer::loop(ImplicitLocOpBuilder &b, unsigned dim) {
  return linalg::IndexOp::create(b, dim);
}

Value Decomposer::inlined(ImplicitLocOpBuilder &b, Region &region,
                          ValueRange elements) {
  IRMapping mapping;
  Block &body = region.front();
  mapping.map(body.getArguments(), elements);
  for (Operation &op : body.without_terminator())
    b.clone(op, mapping);
  return mapping.lookup(body.getTerminator()->getOperand(0));
}

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value Decomposer::wide(ImplicitLocOpBuilder &b, Value value) {
  return value.getType().isF64()
             ? value
             : arith::ExtFOp::create(b, b.getF64Type(), value).getResult();
}

Value Decomposer::narrow(ImplicitLocOpBuilder &b, Value value) {
  unsigned width = value.getType().getIntOrFloatBitWidth();
  if (width == 32)
    return value;
  if (width < 32)
    return arith::ExtFOp::create(b, b.getF32Type(), value);
  return arith::TruncFOp::create(b, b.getF32Type(), value);
}

Value Decomposer::clamped(ImplicitLocOpBuilder &b, Value id, int64_t size) {
  Value wideId = arith::IndexCastOp::create(b, b.getIndexType(), id);
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value end = arith::ConstantIndexOp::create(b, size);
  // Unsigned: below zero is far beyond the end.
  Value inside =
      arith::CmpIOp::create(b, arith::CmpIPredicate::ult, wideId, end);
  return arith::SelectOp::create(b, inside, wideId, zero);
}

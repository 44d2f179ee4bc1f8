// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MatMul, Gemm, MatMulInteger and Einsum: contractions.

#include "MatMul.h"
#include "Scalars.h"

#include "mlir/IR/AffineMap.h"

#include <map>

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;
using utils::IteratorType;

/// The result of a contraction from its sum in the compute type.
static Tensor narrowed(Emitter &e, Value sum, Type element, Sizes sizes) {
  Type type = computeType(element);
  Tensor wide = e.make(sum, type, std::move(sizes));
  Tensor result = e.cast(wide, element);
  result.element = element;
  return result;
}

static Value zeros(Emitter &e, ArrayRef<Size> sizes, Type element) {
  return e.filled(sizes, e.number(computeType(element), 0));
}

Tensor tl::product(Emitter &e, Tensor a, Tensor b, bool transposeA,
                   bool transposeB) {
  Size m = a.sizes[transposeA], k = a.sizes[!transposeA];
  Size n = b.sizes[!transposeB];
  e.requireEqual(k, b.sizes[transposeB],
                 "the inner dimensions of the matrices must agree");
  Value init = zeros(e, {m, n}, a.element);
  if (!transposeA && !transposeB) {
    Value sum = linalg::MatmulOp::create(
                    e.b, ValueRange{e.value(a), e.value(b)}, ValueRange{init})
                    .getResult(0);
    return narrowed(e, sum, a.element, {m, n});
  }
  MLIRContext *context = e.b.getContext();
  AffineExpr i, j, l;
  bindDims(context, i, j, l);
  auto map = [&](AffineExpr x, AffineExpr y) {
    return AffineMap::get(3, 0, {x, y}, context);
  };
  AffineMap maps[] = {transposeA ? map(l, i) : map(i, l),
                      transposeB ? map(j, l) : map(l, j), map(i, j)};
  IteratorType iterators[] = {IteratorType::parallel, IteratorType::parallel,
                              IteratorType::reduction};
  Value sum =
      e.generic(ValueRange{e.value(a), e.value(b)}, ValueRange{init}, maps,
                iterators, [&](ValueRange args) -> SmallVector<Value> {
                  Value x = e.toCompute(args[0], a.element);
                  Value y = e.toCompute(args[1], b.element);
                  return {tl::add(e, args[2], tl::mul(e, x, y))};
                })[0];
  return narrowed(e, sum, a.element, {m, n});
}

Tensor tl::matmul(Emitter &e, Tensor a, Tensor b) {
  bool isRow = a.rank() == 1, isColumn = b.rank() == 1;
  if (isRow)
    a = e.reshape(a, {e.size(1), a.sizes[0]});
  if (isColumn)
    b = e.reshape(b, {b.sizes[0], e.size(1)});
  Size m = a.sizes[a.rank() - 2], k = a.sizes.back(), n = b.sizes.back();
  Sizes batchA(a.sizes.begin(), a.sizes.end() - 2);
  Sizes batchB(b.sizes.begin(), b.sizes.end() - 2);
  Sizes batch = e.broadcast({batchA, batchB});
  Tensor result;
  if (batchB.empty()) {
    Size rows = e.mul(e.product(batchA), m);
    Tensor flat = e.reshape(a, {rows, k});
    result = product(e, flat, b, false, false);
  } else {
    e.requireEqual(k, b.sizes[b.rank() - 2],
                   "the inner dimensions of the matrices must agree");
    auto stack = [&](Tensor &x, Size rows, Size columns) {
      Sizes full = batch;
      full.append({rows, columns});
      Tensor whole = e.broadcastTo(x, full);
      return e.reshape(whole, {e.product(batch), rows, columns});
    };
    Tensor left = stack(a, m, k), right = stack(b, k, n);
    Sizes sizes{left.sizes[0], m, n};
    Value init = zeros(e, sizes, a.element);
    Value sum =
        linalg::BatchMatmulOp::create(
            e.b, ValueRange{e.value(left), e.value(right)}, ValueRange{init})
            .getResult(0);
    result = narrowed(e, sum, a.element, sizes);
  }
  Sizes sizes = batch;
  if (!isRow)
    sizes.push_back(m);
  if (!isColumn)
    sizes.push_back(n);
  return e.reshape(result, sizes);
}

namespace {

LogicalResult lowerMatMul(Node &n) {
  if (n.in(0).rank() == 0 || n.in(1).rank() == 0)
    return n.error("operands must have at least one dimension");
  if (n.in(0).element != n.in(1).element)
    return n.error("operands must have one element type");
  return n.done(matmul(n, n.in(0), n.in(1)));
}

LogicalResult lowerGemm(Node &n) {
  if (n.in(0).rank() != 2 || n.in(1).rank() != 2)
    return n.error("Gemm needs matrices");
  Type element = n.in(0).element;
  Tensor result = product(n, n.in(0), n.in(1), n.intAttr("transA", 0) != 0,
                          n.intAttr("transB", 0) != 0);
  double alpha = n.floatAttr("alpha", 1), beta = n.floatAttr("beta", 1);
  if (!n.has(2) && alpha == 1)
    return n.done(result);
  SmallVector<Tensor> operands{result};
  if (n.has(2))
    operands.push_back(n.in(2));
  Sizes sizes = result.sizes;
  Tensor sum = n.compute(operands, element, [&](ArrayRef<Value> a) {
    Value x = a[0];
    if (alpha != 1)
      x = tl::mul(n, x, tl::like(n, x, alpha));
    if (a.size() == 1)
      return x;
    Value c = beta == 1 ? a[1] : tl::mul(n, a[1], tl::like(n, a[1], beta));
    return tl::add(n, x, c);
  });
  for (auto [have, want] : llvm::zip(sum.sizes, sizes))
    n.requireEqual(have, want, "C must broadcast to the product");
  return n.done(sum);
}

LogicalResult lowerMatMulInteger(Node &n) {
  Type i32 = n.b.getI32Type();
  Tensor operands[2];
  for (unsigned i : {0u, 1u}) {
    if (n.in(i).rank() == 0)
      return n.error("operands must have at least one dimension");
    operands[i] = n.cast(n.in(i), i32);
    if (!n.has(i + 2))
      continue;
    Tensor zero = n.cast(n.in(i + 2), i32);
    // Per row of the left operand, per column of the right one.
    if (i == 0 && zero.rank() == 1 && !isConstant(zero.sizes[0], 1))
      zero = n.reshape(zero, {zero.sizes[0], n.size(1)});
    Tensor pair[] = {operands[i], zero};
    operands[i] = n.map(
        pair, i32, [&](ArrayRef<Value> a) { return tl::sub(n, a[0], a[1]); });
  }
  return n.done(matmul(n, operands[0], operands[1]));
}

/// The labels of one term: letters, and negative numbers for the dimensions
/// under an ellipsis, counted from its end.
std::optional<SmallVector<int>> termLabels(StringRef term, int64_t rank) {
  SmallVector<int> labels;
  int64_t letters = llvm::count_if(term, [](char c) { return c != '.'; });
  for (size_t i = 0; i < term.size();) {
    if (term.substr(i).starts_with("...")) {
      for (int64_t left = rank - letters; left > 0; --left)
        labels.push_back(int(-left));
      i += 3;
    } else if (llvm::isAlpha(term[i])) {
      labels.push_back(term[i++]);
    } else {
      return std::nullopt;
    }
  }
  return labels;
}

/// Labels of the result where the equation does not give them.
SmallVector<int> impliedLabels(ArrayRef<SmallVector<int>> terms) {
  std::map<int, int> times;
  for (const auto &term : terms)
    for (int label : term)
      ++times[label];
  SmallVector<int> result;
  for (auto [label, count] : times)
    if (label < 0 || count == 1)
      result.push_back(label);
  return result; // ellipsis first, then letters in order
}

LogicalResult lowerEinsum(Node &n) {
  std::string equation;
  for (char c : n.stringAttr("equation"))
    if (c != ' ')
      equation += c;
  auto wrong = [&] {
    return n.error("equation '" + equation + "' does not fit the operands");
  };
  auto [left, right] = StringRef(equation).split("->");
  SmallVector<StringRef> texts;
  left.split(texts, ',');
  if (texts.size() != n.inputs.size())
    return wrong();
  SmallVector<SmallVector<int>> terms;
  int64_t widest = 0;
  for (auto [text, input] : llvm::zip(texts, n.inputs)) {
    auto labels = termLabels(text, input.rank());
    if (!labels || int64_t(labels->size()) != input.rank() ||
        input.element != n.in(0).element)
      return wrong();
    widest = std::max<int64_t>(
        widest, llvm::count_if(*labels, [](int l) { return l < 0; }));
    terms.push_back(*labels);
  }
  SmallVector<int> output = impliedLabels(terms);
  if (StringRef(equation).contains("->")) {
    auto labels = termLabels(
        right, widest + llvm::count_if(right, [](char c) { return c != '.'; }));
    if (!labels)
      return wrong();
    output = *labels;
  }
  // Loops: those of the result, then those summed over.
  SmallVector<int> order = output;
  std::map<int, Size> extents;
  for (auto [term, input] : llvm::zip(terms, n.inputs))
    for (auto [label, extent] : llvm::zip(term, input.sizes)) {
      if (!llvm::is_contained(order, label))
        order.push_back(label);
      auto [known, isNew] = extents.try_emplace(label, extent);
      if (isNew)
        continue;
      if (isConstant(known->second, 1))
        known->second = extent;
      else if (!isConstant(extent, 1))
        n.requireEqual(known->second, extent,
                       "dimensions of one label must agree");
    }
  MLIRContext *context = n.b.getContext();
  auto loopOf = [&](int label) {
    return getAffineDimExpr(llvm::find(order, label) - order.begin(), context);
  };
  SmallVector<AffineMap> maps;
  SmallVector<Value> operands;
  for (auto [term, input] : llvm::zip(terms, n.inputs)) {
    SmallVector<AffineExpr> exprs;
    for (auto [label, extent] : llvm::zip(term, input.sizes))
      exprs.push_back(isConstant(extent, 1) && !isConstant(extents[label], 1)
                          ? getAffineConstantExpr(0, context)
                          : loopOf(label));
    maps.push_back(AffineMap::get(order.size(), 0, exprs, context));
    operands.push_back(n.value(input));
  }
  Sizes sizes;
  SmallVector<AffineExpr> exprs;
  llvm::SmallDenseSet<int> seen;
  for (int label : output) {
    if (!extents.count(label) || !seen.insert(label).second)
      return wrong();
    sizes.push_back(extents[label]);
    exprs.push_back(loopOf(label));
  }
  maps.push_back(AffineMap::get(order.size(), 0, exprs, context));
  SmallVector<IteratorType> iterators(output.size(), IteratorType::parallel);
  iterators.append(order.size() - output.size(), IteratorType::reduction);
  Type element = n.in(0).element;
  Value sum = n.generic(operands, ValueRange{zeros(n, sizes, element)}, maps,
                        iterators, [&](ValueRange args) -> SmallVector<Value> {
                          Value x = n.toCompute(args[0], element);
                          for (Value y : args.drop_front().drop_back())
                            x = tl::mul(n, x, n.toCompute(y, element));
                          return {tl::add(n, args.back(), x)};
                        })[0];
  return n.done(narrowed(n, sum, element, sizes));
}

} // namespace

void tl::addMatMul(Registry &r) {
  r.family = "Products";
  r.add("MatMul", 2, lowerMatMul);
  r.add("Gemm", 2, lowerGemm);
  r.add("MatMulInteger", 2, lowerMatMulInteger);
  r.add("Einsum", 1, lowerEinsum);
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// If. A condition known at compile time chooses its branch there.

#include "Node.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

namespace {

Region *branch(Node &n, StringRef name) {
  auto graphs = n.carrier.getGraphs();
  if (!graphs)
    return nullptr;
  for (auto [graph, region] : llvm::zip(*graphs, n.carrier.getSubgraphs()))
    if (cast<StringAttr>(graph).getValue() == name && region.hasOneBlock())
      return &region;
  return nullptr;
}

/// Sizes that hold for both tensors; unknown where they differ.
RankedTensorType commonType(Emitter &e, const Tensor &a, const Tensor &b) {
  SmallVector<int64_t> shape;
  for (auto [x, y] : llvm::zip(a.sizes, b.sizes)) {
    auto known = constant(x);
    shape.push_back(known && isConstant(y, *known) ? *known
                                                   : ShapedType::kDynamic);
  }
  return RankedTensorType::get(shape, storageType(a.element));
}

LogicalResult lowerIf(Node &n) {
  Region *regions[] = {branch(n, "then_branch"), branch(n, "else_branch")};
  if (!regions[0] || !regions[1])
    return n.error("If needs a then_branch and an else_branch");
  auto &b = n.b;
  Location loc = b.getLoc();
  Value condition = n.single(n.in(0), "the condition");
  unsigned count = n.carrier.getNumResults();
  auto mismatch = [&] {
    return n.error("a branch must have a tensor for each output of If");
  };
  if (auto known = getConstantIntValue(condition)) {
    auto results = n.lowerer.subgraph(*regions[*known == 0], {});
    if (!results)
      return n.abandon();
    if (results->size() != count)
      return mismatch();
    for (auto [i, result] : llvm::enumerate(*results)) {
      if (!result.element)
        return mismatch();
      n.out(i, result);
    }
    return success();
  }
  // The types of the results are known only when both branches are there.
  auto draft = scf::IfOp::create(b, TypeRange(), condition, true, true);
  std::optional<SmallVector<Tensor>> sides[2];
  for (unsigned side : {0u, 1u}) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(&draft->getRegion(side).front());
    sides[side] = n.lowerer.subgraph(*regions[side], {});
    b.setLoc(loc);
    if (!sides[side] || sides[side]->size() != count)
      return sides[side] ? mismatch() : n.abandon();
    for (Tensor &result : *sides[side]) {
      if (!result.element)
        return mismatch();
      n.value(result);
    }
  }
  SmallVector<Type> types;
  for (auto [i, a, c] : llvm::enumerate(*sides[0], *sides[1])) {
    if (a.element != c.element || a.rank() != c.rank())
      return n.error("output " + Twine(i) + " has rank " + Twine(a.rank()) +
                     " in one branch and " + Twine(c.rank()) +
                     " in the other; both must have one rank and type");
    types.push_back(commonType(n, a, c));
  }
  for (unsigned side : {0u, 1u}) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToEnd(&draft->getRegion(side).front());
    SmallVector<Value> values;
    for (auto [result, type] : llvm::zip(*sides[side], types))
      values.push_back(n.castTo(n.value(result), cast<RankedTensorType>(type)));
    scf::YieldOp::create(b, values);
  }
  auto op = scf::IfOp::create(b, types, condition);
  for (unsigned side : {0u, 1u})
    op->getRegion(side).takeBody(draft->getRegion(side));
  draft.erase();
  for (auto [i, value] : llvm::enumerate(op.getResults())) {
    Sizes sizes;
    auto type = cast<RankedTensorType>(value.getType());
    for (int64_t dim = 0; dim < type.getRank(); ++dim)
      sizes.push_back(
          type.isDynamicDim(dim)
              ? Size(tensor::DimOp::create(b, value, dim).getResult())
              : n.size(type.getDimSize(dim)));
    n.out(i, n.make(value, (*sides[0])[i].element, sizes));
  }
  return success();
}

} // namespace

void tl::addControl(Registry &r) {
  r.family = "Control";
  r.add("If", 1, lowerIf, "both branches must give results of one rank");
}

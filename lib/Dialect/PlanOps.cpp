// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the planned model.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "OpUtils.h"

#include "llvm/ADT/BitVector.h"

using namespace mlir;
using namespace adaptive;

LogicalResult KVLevelOp::verify() {
  if (int64_t(getFirst()) < 0 || getEnd() <= getFirst() || int64_t(getHeads()) <= 0 ||
      int64_t(getHeadDim()) <= 0 || int64_t(getPage()) <= 0)
    return emitOpError("needs a non-empty range of layers and positive sizes");
  auto module = (*this)->getParentOfType<ModuleOp>();
  if (!module)
    return success();
  for (auto other : module.getOps<KVLevelOp>())
    if (other != *this && other.getFirst() < getEnd() && getFirst() < other.getEnd())
      return emitOpError("overlaps level @") << other.getSymName();
  return success();
}

LogicalResult StageOp::verifyRegions() {
  Block &body = getBody().front();
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (!yield)
    return emitOpError("body must end in a yield");
  if (getReads().size() != body.getNumArguments())
    return emitOpError("reads ") << getReads().size() << " columns but takes "
                                 << body.getNumArguments() << " arguments";
  if (getWrites().size() != yield.getValues().size())
    return emitOpError("writes ") << getWrites().size() << " columns but yields "
                                  << yield.getValues().size() << " values";
  return success();
}

LogicalResult ProgramOp::verify() {
  static constexpr StringRef edges[] = {"next", "leave", "stay", "owes"};
  ArrayAttr nodes = getNodes();
  auto module = (*this)->getParentOfType<ModuleOp>();
  SmallVector<SmallVector<int64_t>> successors(nodes.size());
  for (auto [index, attribute] : llvm::enumerate(nodes)) {
    auto node = dyn_cast<DictionaryAttr>(attribute);
    auto kind = node ? node.getAs<StringAttr>("kind") : StringAttr();
    if (!kind)
      return emitOpError("node ") << index << " must be a dictionary with a kind";
    for (StringRef edge : edges)
      if (auto target = node.getAs<IntegerAttr>(edge)) {
        if (target.getInt() < 0 || target.getInt() >= int64_t(nodes.size()))
          return emitOpError("edge ") << edge << " of node " << index << " leads to node "
                                      << target.getInt() << " of " << nodes.size();
        successors[index].push_back(target.getInt());
      }
    if (auto stage = node.getAs<FlatSymbolRefAttr>("stage"))
      if (module && !isa_and_nonnull<StageOp>(module.lookupSymbol(stage)))
        return emitOpError("node ") << index << " names no stage: " << stage;
  }
  if (nodes.empty() ||
      cast<DictionaryAttr>(nodes[0]).getAs<StringAttr>("kind").getValue() != "embed")
    return emitOpError("node 0 must be the embed node");
  llvm::BitVector seen(nodes.size());
  SmallVector<int64_t> pending{0};
  while (!pending.empty()) {
    int64_t node = pending.pop_back_val();
    if (seen.test(node))
      continue;
    seen.set(node);
    pending.append(successors[node]);
  }
  if (!seen.all())
    return emitOpError("node ") << seen.find_first_unset() << " cannot be reached from node 0";
  return success();
}

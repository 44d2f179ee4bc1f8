// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the depth program. The runtime checks the same rules when it
// loads an artifact (runtime/core/program_check.cpp).

#include "AdaptiveDialect/IR/Adaptive.h"

#include "ee/abi.h"

#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace adaptive;

static_assert(uint32_t(RowFlags::Emits) == EE_ROW_EMITS,
              "row flags are those of the ABI");

void EmbedNodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getNode(), getKind());
}
void RunNodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getNode(), getStage());
}
void BranchNodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getNode(), ("at_" + getSite()).str());
}
void FilterNodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getNode(), stringifyRowFlags(getFlags()));
}
void EmitNodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getNode(), getKind());
}
void EndNodeOp::getAsmResultNames(OpAsmSetValueNameFn setName) {
  setName(getNode(), getKind());
}

LogicalResult RunNodeOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!symbols.lookupNearestSymbolFrom<StageOp>(*this, getStageAttr()))
    return emitOpError("must name a stage, but got ") << getStageAttr();
  return success();
}

LogicalResult BranchNodeOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!symbols.lookupNearestSymbolFrom<ExitEntryOp>(*this, getSiteAttr()))
    return emitOpError("must name an exit_entry, but got ") << getSiteAttr();
  return success();
}

/// Where the edges of a node lead within a token.
static OperandRange edgesWithinToken(Operation *node) {
  return isa<EmitNodeOp>(node) ? OperandRange(nullptr, 0) : node->getOperands();
}

/// Nodes that can be reached from \p start.
static DenseSet<Operation *> reachableFrom(Operation *start) {
  DenseSet<Operation *> seen{start};
  SmallVector<Operation *> pending{start};
  while (!pending.empty())
    for (Value target : pending.pop_back_val()->getOperands())
      if (seen.insert(target.getDefiningOp()).second)
        pending.push_back(target.getDefiningOp());
  return seen;
}

/// A node on a cycle within a token that launches nothing, or null. Depth
/// first over edges out of nodes that launch nothing.
static Operation *findIdleCycle(ProgramOp program) {
  DenseMap<Operation *, bool> closed; // false while on the path
  for (Operation &start : program.getBody().front()) {
    if (closed.contains(&start))
      continue;
    SmallVector<std::pair<Operation *, unsigned>> path{{&start, 0}};
    closed[&start] = false;
    while (!path.empty()) {
      auto &[node, edge] = path.back();
      OperandRange edges = edgesWithinToken(node);
      if (isa<RunNodeOp>(node) || edge == edges.size()) {
        closed[node] = true;
        path.pop_back();
        continue;
      }
      Operation *target = edges[edge++].getDefiningOp();
      auto [entry, isNew] = closed.insert({target, false});
      if (isNew)
        path.push_back({target, 0});
      else if (!entry->second)
        return target;
    }
  }
  return nullptr;
}

LogicalResult ProgramOp::verify() {
  // Bounds of the loader.
  struct {
    StringRef name;
    int64_t value, most;
  } facts[] = {{"vocab", int64_t(getVocab()), 1 << 24},
               {"hidden", int64_t(getHidden()), 1 << 24},
               {"layers", int64_t(getLayers()), 65536},
               {"max_position", int64_t(getMaxPosition()), 1 << 30}};
  for (auto &[name, value, most] : facts)
    if (value < 1 || value > most)
      return emitOpError(name)
             << " must lie in [1, " << most << "], but got " << value;
  return success();
}

LogicalResult ProgramOp::verifyRegions() {
  Block &body = getBody().front();
  if (body.getNumArguments() != 0)
    return emitOpError("body must take no arguments, but takes ")
           << body.getNumArguments();
  EmbedNodeOp embed;
  bool emits = false;
  for (Operation &op : body) {
    if (!isa<ProgramNodeOpInterface>(op))
      return op.emitOpError("is in a program, which holds nodes only");
    if (auto entry = dyn_cast<EmbedNodeOp>(op)) {
      if (embed)
        return op.emitOpError("is a second embed node, one is accepted");
      embed = entry;
    }
    for (Value target : edgesWithinToken(&op))
      if (isa<EmbedNodeOp>(target.getDefiningOp()))
        return op.emitOpError("leads to embed, which only emit may");
    if (auto emit = dyn_cast<EmitNodeOp>(op)) {
      emits = true;
      if (!isa<EmbedNodeOp, EndNodeOp>(emit.getNext().getDefiningOp()))
        return op.emitOpError("must lead to embed or end, but leads to ")
               << emit.getNext().getDefiningOp()->getName();
    }
  }
  if (!embed)
    return emitOpError("must have an embed node");
  if (!emits)
    return emitOpError("must have an emit node");
  if (Operation *node = findIdleCycle(*this))
    return node->emitOpError("is on a cycle that runs no stage");
  DenseSet<Operation *> reachable = reachableFrom(embed);
  for (Operation &op : body)
    if (!reachable.contains(&op))
      return op.emitOpError("cannot be reached from embed");
  return success();
}

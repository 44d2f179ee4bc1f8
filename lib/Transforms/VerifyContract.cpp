// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-verify-contract: the hinge between raising and everything behind it.
// What is checked here, later passes rely on and do not check again. A wrong
// model may come from raising, from a pass of a plugin or from a file written
// by hand.

#include "AdaptiveDialect/IR/Onnx.h"
#include "AdaptiveDialect/Transforms/Passes.h"

namespace adaptive {
#define GEN_PASS_DEF_VERIFYCONTRACT
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {

/// Unrolled layers [first, end) that one op of the model runs.
struct LayerRange {
  Operation *op;
  int64_t first, end;
};

struct VerifyContract : adaptive::impl::VerifyContractBase<VerifyContract> {
  void runOnOperation() override {
    bool ok = true;
    auto check = [&](bool holds) { ok &= holds; };
    check(noCarrierOps());
    int models = 0;
    for (auto model : getOperation().getOps<ModelOp>()) {
      ++models;
      check(rankedValues(model));
      check(layersCountUp(model));
      check(exitsKnowTheirDepth(model));
    }
    if (models != 1) {
      emitError(getOperation().getLoc())
          << "the module must hold one adaptive.model, but it holds " << models;
      ok = false;
    }
    for (auto block : getOperation().getOps<BlockOp>()) {
      check(rankedValues(block));
      check(readsAreCovered(block.getBody().front()));
    }
    if (!ok)
      signalPassFailure();
  }

  bool noCarrierOps();
  bool rankedValues(Operation *root);
  bool readsAreCovered(Block &body);
  bool layersCountUp(ModelOp model);
  bool exitsKnowTheirDepth(ModelOp model);
};

} // namespace

bool VerifyContract::noCarrierOps() {
  bool ok = true;
  getOperation().walk([&](Operation *op) {
    if (op->getName().getDialectNamespace() !=
        onnx_carrier::OnnxDialect::getDialectNamespace())
      return;
    ok = false;
    auto node = dyn_cast<onnx_carrier::NodeOp>(op);
    emitError(op->getLoc())
        << "a carrier op is left: "
        << (node ? node.getOpType() : op->getName().getStringRef());
  });
  return ok;
}

bool VerifyContract::rankedValues(Operation *root) {
  bool ok = true;
  auto check = [&](Value value) {
    if (!isa<UnrankedTensorType>(value.getType()))
      return;
    ok = false;
    emitError(value.getLoc())
        << "every tensor must have a rank, but one has type "
        << value.getType();
  };
  root->walk([&](Operation *op) {
    for (Value result : op->getResults())
      check(result);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (BlockArgument argument : block.getArguments())
          check(argument);
  });
  return ok;
}

/// What an `attend` reads must have been appended in the same layer: KV of
/// another layer would be missing for rows that left before it.
bool VerifyContract::readsAreCovered(Block &body) {
  bool ok = true;
  for (auto attend : body.getOps<AttendOp>()) {
    auto append = attend.getKv().getDefiningOp<KVAppendOp>();
    if (append && append->getBlock() == &body)
      continue;
    ok = false;
    emitError(attend.getLoc()) << "adaptive.attend must read what an "
                                  "adaptive.kv_append of its layer appended";
  }
  return ok;
}

bool VerifyContract::layersCountUp(ModelOp model) {
  bool ok = true;
  std::vector<LayerRange> ranges;
  for (Operation &op : model.getBody().front()) {
    if (auto layers = dyn_cast<LayersOp>(op)) {
      if (!layers.getKvOnly())
        ranges.push_back({&op, int64_t(layers.getFirst()),
                          int64_t(layers.getFirst()) + layers.getNumLayers()});
    } else if (auto recurse = dyn_cast<RecurseOp>(op)) {
      ranges.push_back({&op, int64_t(recurse.getFirst()),
                        int64_t(recurse.getFirst()) +
                            int64_t(recurse.getTimes()) *
                                int64_t(recurse.getWeights().size())});
    } else if (isa<AttendOp, KVAppendOp>(op)) {
      ok = false;
      emitError(op.getLoc()) << op.getName()
                             << " must lie in an adaptive.block: only there it "
                                "has a layer";
    }
  }
  llvm::stable_sort(ranges, [](const LayerRange &a, const LayerRange &b) {
    return a.first < b.first;
  });
  int64_t next = 0;
  for (const LayerRange &range : ranges) {
    if (range.first != next) {
      ok = false;
      emitError(range.op->getLoc())
          << "unrolled layers must count up from 0 without gaps or "
             "repetition: expected first "
          << next << ", but got " << range.first;
    }
    next = std::max(next, range.end);
  }
  return ok;
}

/// Unrolled layers that must have run for `value` to be there.
static int64_t depthOf(Value value) {
  SmallVector<Value> work = {value};
  llvm::SmallPtrSet<Operation *, 16> seen;
  int64_t depth = 0;
  while (!work.empty()) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    if (auto layers = dyn_cast<LayersOp>(op))
      depth =
          std::max(depth, int64_t(layers.getFirst()) + layers.getNumLayers());
    if (auto recurse = dyn_cast<RecurseOp>(op))
      depth = std::max(depth, int64_t(recurse.getFirst()) +
                                  int64_t(recurse.getTimes()) *
                                      int64_t(recurse.getWeights().size()));
    llvm::append_range(work, op->getOperands());
  }
  return depth;
}

bool VerifyContract::exitsKnowTheirDepth(ModelOp model) {
  bool ok = true;
  std::map<int64_t, Operation *> byIndex;
  model.walk([&](ExitPointOpInterface exit) {
    Operation *op = exit;
    auto fail = [&]() {
      ok = false;
      return emitError(op->getLoc()) << "exit " << exit.getExitIndex();
    };
    int64_t depth = depthOf(exit.getExitState());
    if (exit.getExitDepth() != depth)
      fail() << " says depth " << exit.getExitDepth()
             << ", but its state is there after " << depth << " layers";
    if (depthOf(exit.getExitValue()) > depth ||
        depthOf(exit.getExitScore()) > depth)
      fail() << ": its value and score must not need layers behind its state";
    if (!byIndex.try_emplace(exit.getExitIndex(), op).second)
      fail() << " shares its index with another exit";
  });
  int64_t expected = 0, depth = 0;
  for (auto [index, op] : byIndex) {
    auto exit = cast<ExitPointOpInterface>(op);
    if (index != expected || exit.getExitDepth() < depth) {
      ok = false;
      emitError(op->getLoc())
          << "exits must be numbered from 0 in the order of their depth, "
             "but exit "
          << index << " has depth " << exit.getExitDepth();
    }
    ++expected;
    depth = std::max(depth, exit.getExitDepth());
  }
  return ok;
}

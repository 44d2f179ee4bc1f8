// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-verify-logits: what the model yields must be scores of the ids that
// it reads. What samples them and feeds them back does not look again.

#include "AdaptiveDialect/Transforms/Passes.h"

namespace adaptive {
#define GEN_PASS_DEF_VERIFYLOGITS
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
struct VerifyLogits : adaptive::impl::VerifyLogitsBase<VerifyLogits> {
  void runOnOperation() override {
    for (auto model : getOperation().getOps<ModelOp>())
      if (!attends(model) || !endsInHead(model) || !sizesAgree(model))
        return signalPassFailure();
  }

  bool attends(ModelOp model);
  bool endsInHead(ModelOp model);
  bool sizesAgree(ModelOp model);
};
} // namespace

static int64_t rankOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getRank();
}

/// Whether at most one of the operands is rows; the others are vectors.
static bool readsOneRow(ValueRange operands) {
  return llvm::count_if(operands,
                        [](Value value) { return rankOf(value) != 1; }) <= 1;
}

/// What a model or block yields.
static Value yielded(Block &body) {
  return cast<YieldOp>(body.getTerminator()).getValues()[0];
}

/// The block that computes the value as its result, if one does: the last layer
/// takes the head with it where both have the same width.
static BlockOp blockOf(Operation *op) {
  FlatSymbolRefAttr callee;
  if (auto layers = dyn_cast<LayersOp>(op))
    callee = layers.getCalleeAttr();
  else if (auto recurse = dyn_cast<RecurseOp>(op))
    callee = recurse.getCalleeAttr();
  return callee ? SymbolTable::lookupNearestSymbolFrom<BlockOp>(op, callee)
                : BlockOp();
}

/// True for a head: one product, and nothing behind it that reads other rows,
/// as the sum of a residual stream does.
static bool isHead(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto linear = dyn_cast<LinearOp>(op))
      return linear.getEpilogue().empty() ||
             (linear.getWeights().size() == 1 &&
              llvm::all_of(linear.getExtras(),
                           [](Value extra) { return rankOf(extra) == 1; }));
    if (auto map = dyn_cast<MapOp>(op)) {
      auto rows = llvm::find_if(map.getInputs(),
                                [](Value in) { return rankOf(in) != 1; });
      if (!readsOneRow(map.getInputs()) || rows == map.getInputs().end())
        return false;
      value = *rows;
    } else if (auto exit = dyn_cast<ExitPointOpInterface>(op)) {
      if (!isHead(exit.getExitValue()))
        return false;
      value = exit.getRestValue();
    } else if (BlockOp block = blockOf(op)) {
      value = yielded(block.getBody().front());
    } else {
      return false;
    }
  }
  return false;
}

bool VerifyLogits::attends(ModelOp model) {
  for (Operation &op : model.getBody().front())
    if (isa<LayersOp, RecurseOp>(op))
      return true;
  emitError(model.getLoc(), "the graph has no attention: its rows do not "
                            "depend on those before them");
  return false;
}

bool VerifyLogits::endsInHead(ModelOp model) {
  if (isHead(yielded(model.getBody().front())))
    return true;
  emitError(model.getLoc(),
            "its output is not proven to be logits: it is no product with the "
            "weight of a head, but a hidden state or a function of several");
  return false;
}

bool VerifyLogits::sizesAgree(ModelOp model) {
  Value logits = yielded(model.getBody().front());
  int64_t columns = cast<RankedTensorType>(logits.getType()).getDimSize(1);
  bool ok = true;
  model.walk([&](EmbedOp embed) {
    int64_t rows =
        cast<RankedTensorType>(embed.getTable().getType()).getDimSize(0);
    if (!ok || rows == columns)
      return;
    ok = false;
    auto ids = [](int64_t first, int64_t end) {
      return first + 1 == end ? "id " + std::to_string(first) + " has"
                              : "ids " + std::to_string(first) + " to " +
                                    std::to_string(end - 1) + " have";
    };
    emitError(embed.getLoc())
        << "the embedding has " << rows << " rows, but the output has "
        << columns << " columns: "
        << (rows < columns ? ids(rows, columns) + " a score and no row"
                           : ids(columns, rows) + " a row and no score");
  });
  return ok;
}

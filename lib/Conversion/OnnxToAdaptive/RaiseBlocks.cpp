// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-raise-blocks: the layers of a flat model become blocks. Nothing but
// the dataflow decides: a layer runs from one value that alone is live to the
// next such value, with one attention between them.
//
//   norm, linear, rope, kv_append, attend, ... (30 times) -> block @layer,
//   layers @layer(%h)

#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/Transforms/DeadOps.h"
#include "AdaptiveDialect/Transforms/Remarks.h"
#include "MainPath.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/DebugLog.h"

#define DEBUG_TYPE "adaptive-raise-blocks"

namespace adaptive {
#define GEN_PASS_DEF_RAISEBLOCKS
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

namespace {

/// A place in the op order where `value` is all that later ops need.
struct Cut {
  size_t end; ///< ops before it
  Value value;
  int64_t attends; ///< attentions before it
};

struct Layer {
  Cut from, to;
  BlockOp block;
  ArrayAttr weights;
};

class LayerFinder {
public:
  explicit LayerFinder(ModelOp model)
      : model(model), module(model->getParentOfType<ModuleOp>()),
        symbols(module) {}
  LogicalResult run();

private:
  void findCuts();
  LogicalResult findLayers();
  LogicalResult separateTaps(const Layer &layer);
  void outline(Layer &layer);
  bool isTap(OpOperand &use) const;
  bool isTapped(Value value) const;
  void replaceRuns();

  ModelOp model;
  ModuleOp module;
  SymbolTable symbols;
  llvm::SetVector<Operation *>
      order; ///< ops on the way to the full-depth result
  std::vector<Cut> cuts;
  std::vector<Layer> layers;
  std::map<std::string, BlockOp> blocks; ///< by their text
};

} // namespace

void LayerFinder::findCuts() {
  llvm::DenseMap<Value, size_t> lastUse;
  for (auto [index, op] : llvm::enumerate(order))
    for (Value operand : mainOperands(op))
      lastUse[operand] = index;
  llvm::SetVector<Value> live;
  BlockArgument ids = model.getBody().front().getArgument(0);
  if (lastUse.contains(ids))
    live.insert(ids);
  int64_t attends = 0;
  for (auto [index, op] : llvm::enumerate(order)) {
    attends += isa<AttendOp>(op);
    for (Value operand : mainOperands(op))
      if (lastUse[operand] == index)
        live.remove(operand);
    for (Value result : op->getResults())
      if (lastUse.contains(result))
        live.insert(result);
    if (live.size() == 1 && live[0].getDefiningOp() &&
        isa<RankedTensorType>(live[0].getType())) {
      LDBG() << "only " << live[0] << " is live before attention " << attends;
      cuts.push_back({index + 1, live[0], attends});
    }
  }
}

/// True for a use off the way to the full-depth result: that of an exit.
bool LayerFinder::isTap(OpOperand &use) const {
  if (!order.contains(use.getOwner()))
    return true;
  auto exit = dyn_cast<ExitPointOpInterface>(use.getOwner());
  return exit && exit.getRestValue() != use.get();
}

bool LayerFinder::isTapped(Value value) const {
  return llvm::any_of(value.getUses(),
                      [&](OpOperand &use) { return isTap(use); });
}

/// Gives exits that read a value inside of the layer their own copy of what
/// computes it: the exit's norm may happen to be that of the next layer.
LogicalResult LayerFinder::separateTaps(const Layer &layer) {
  for (size_t i = layer.to.end; i-- > layer.from.end;) {
    Operation *op = order[i];
    bool tapped = llvm::any_of(op->getResults(), [&](Value result) {
      return result != layer.to.value && isTapped(result);
    });
    if (!tapped)
      continue;
    if (!isPure(op))
      return emitError(op->getLoc())
             << "an exit reads keys or values inside of layer "
             << layer.from.attends
             << "; it may read the residual stream between layers only";
    OpBuilder builder(op->getContext());
    builder.setInsertionPointAfter(op);
    Operation *copy = builder.clone(*op);
    for (auto [result, own] : llvm::zip(op->getResults(), copy->getResults()))
      result.replaceUsesWithIf(own, [&](OpOperand &use) { return isTap(use); });
  }
  return success();
}

/// Clones the layer's ops into a block of its own, or finds the equal block
/// there is, and lists the weights of this application.
void LayerFinder::outline(Layer &layer) {
  OpBuilder builder(module.getContext());
  Location loc = layer.to.value.getLoc();
  auto block = BlockOp::create(builder, loc, "layer");
  Block &body = block.getBody().emplaceBlock();
  IRMapping mapping;
  mapping.map(layer.from.value,
              body.addArgument(layer.from.value.getType(), loc));
  SmallVector<Attribute> weights;
  builder.setInsertionPointToEnd(&body);
  for (size_t i = layer.from.end; i < layer.to.end; ++i) {
    for (Value operand : order[i]->getOperands())
      if (auto use = operand.getDefiningOp<UseOp>();
          use && !mapping.contains(operand)) {
        mapping.map(operand, body.addArgument(operand.getType(), use.getLoc()));
        weights.push_back(use.getWeightAttr());
      }
    builder.clone(*order[i], mapping);
  }
  YieldOp::create(builder, loc, mapping.lookup(layer.to.value));
  layer.weights = builder.getArrayAttr(weights);
  std::string text;
  llvm::raw_string_ostream stream(text);
  block->print(stream, OpPrintingFlags().useLocalScope());
  auto [known, isNew] = blocks.try_emplace(text, block);
  LDBG() << "layer " << layer.from.attends << ": "
         << (isNew ? "a new block" : "equal to an earlier one");
  if (!isNew)
    block->erase();
  layer.block = known->second;
}

LogicalResult LayerFinder::findLayers() {
  int64_t count =
      llvm::count_if(order, [](Operation *op) { return isa<AttendOp>(op); });
  // A layer starts where only the stream is live for the last time before its
  // attention; the layer before it ends there.
  std::vector<std::optional<Cut>> starts(count);
  for (const Cut &cut : cuts)
    if (cut.attends < count)
      starts[cut.attends] = cut;
  for (int64_t i = 0; i < count; ++i)
    if (!starts[i])
      return emitError(
                 model.getLoc(),
                 "cannot find the layers: more than one value is live before "
                 "attention ")
             << i;
  for (int64_t i = 0; i + 1 < count; ++i)
    layers.push_back({*starts[i], *starts[i + 1], {}, {}});
  for (Layer &layer : layers) {
    if (layer.from.value.getType() != layer.to.value.getType())
      return emitError(layer.to.value.getLoc())
             << "cannot find the layers: the residual stream changes from "
             << layer.from.value.getType() << " to "
             << layer.to.value.getType();
    outline(layer);
  }
  // Where the last layer ends nothing says but its likeness to the others.
  std::optional<Layer> last;
  Value result = model.getBody().front().getTerminator()->getOperand(0);
  for (const Cut &cut : cuts) {
    if (cut.attends != count || count == 0 ||
        cut.value.getType() != starts[count - 1]->value.getType())
      continue;
    // Logits that are as wide as the stream are no part of a layer.
    if (last && cut.value == result)
      continue;
    Layer candidate{*starts[count - 1], cut, {}, {}};
    size_t known = blocks.size();
    outline(candidate);
    bool matches = blocks.size() == known;
    if (!matches) {
      std::erase_if(
          blocks, [&](auto &entry) { return entry.second == candidate.block; });
      candidate.block->erase();
    }
    bool isNorm = isa_and_nonnull<NormOp>(cut.value.getDefiningOp());
    if (matches || !last || (!last->block && !isNorm)) {
      if (last && last->block && !matches)
        continue;
      candidate.block = matches ? candidate.block : BlockOp();
      last = candidate;
    }
  }
  if (count > 0) {
    if (!last)
      return emitError(
          model.getLoc(),
          "cannot find the layers: no value alone is live behind the last "
          "attention");
    outline(*last);
    layers.push_back(*last);
  }
  for (const Layer &layer : layers)
    if (failed(separateTaps(layer)))
      return failure();
  return success();
}

/// Replaces runs of applications of one block that no exit taps by one op.
void LayerFinder::replaceRuns() {
  Value stream = layers.empty() ? Value() : layers[0].from.value;
  for (size_t begin = 0; begin < layers.size();) {
    size_t end = begin + 1;
    while (end < layers.size() && layers[end].block == layers[begin].block &&
           !isTapped(layers[end - 1].to.value))
      ++end;
    SmallVector<Attribute> weights;
    for (size_t i = begin; i < end; ++i)
      weights.push_back(layers[i].weights);
    size_t period = 1, run = weights.size();
    auto repeats = [&] {
      for (size_t i = period; i < run; ++i)
        if (weights[i] != weights[i - period])
          return false;
      return run % period == 0;
    };
    while (period < run && !repeats())
      ++period;
    Value old = layers[end - 1].to.value;
    OpBuilder builder(module.getContext());
    builder.setInsertionPointAfterValue(old);
    Location loc = old.getLoc();
    StringRef callee = layers[begin].block.getSymName();
    ArrayAttr list = builder.getArrayAttr(ArrayRef(weights).take_front(period));
    Value result;
    if (period < run)
      result = RecurseOp::create(builder, loc, old.getType(), callee, stream,
                                 run / period, begin, list);
    else
      result = LayersOp::create(builder, loc, old.getType(), callee, stream,
                                Value(), Value(), begin, list, false);
    old.replaceAllUsesExcept(result, result.getDefiningOp());
    stream = result;
    begin = end;
  }
}

LogicalResult LayerFinder::run() {
  order = mainPath(model);
  findCuts();
  if (failed(findLayers())) {
    for (auto &[text, block] : blocks)
      block->erase();
    return failure();
  }
  for (const Layer &layer : layers)
    if (!layer.block->getBlock()) {
      symbols.insert(layer.block, Block::iterator(model));
    }
  chose(model.getLoc(), "adaptive-raise-blocks")
      << ("layers: " + Twine(layers.size()) +
          ", blocks that differ: " + Twine(blocks.size()))
             .str();
  replaceRuns();
  // The outlined ops, last first; appends have an effect and would not go as
  // dead.
  for (const Layer &layer : llvm::reverse(layers))
    for (size_t i = layer.to.end; i-- > layer.from.end;)
      order[i]->erase();
  eraseDeadOps(model.getBody().front(), isOpTriviallyDead);
  return success();
}

namespace {
struct RaiseBlocks : adaptive::impl::RaiseBlocksBase<RaiseBlocks> {
  void runOnOperation() override {
    for (auto model : llvm::to_vector(getOperation().getOps<ModelOp>())) {
      bool flat = llvm::any_of(model.getBody().front(),
                               [](Operation &op) { return isa<AttendOp>(op); });
      if (flat && failed(LayerFinder(model).run()))
        return signalPassFailure();
    }
  }
};
} // namespace

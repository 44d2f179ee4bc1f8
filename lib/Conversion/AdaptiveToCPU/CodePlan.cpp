// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Plans columns, weights and buffers of all stages.

#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"
#include "LinePlanner.h"
#include "PlanContext.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

const Column *CodePlan::findColumn(StringRef name) const {
  for (const Column &column : columns)
    if (column.name == name)
      return &column;
  return nullptr;
}

namespace {
class Planner {
public:
  explicit Planner(ModuleOp module) : module(module), symbols(module) {}

  FailureOr<std::unique_ptr<CodePlan>> run() {
    for (auto stage : module.getOps<StageOp>())
      if (failed(expandLayers(stage)))
        return failure();
    collectColumns();
    for (auto stage : module.getOps<StageOp>())
      if (failed(planStage(stage)))
        return failure();
    return std::move(plan);
  }

private:
  /// Makes the parts of a `layers` op that are not the block itself explicit:
  /// bodies that only append KV, the select that restores frozen rows.
  LogicalResult expandLayers(StageOp stage) {
    SmallVector<LayersOp> all;
    stage.walk([&](LayersOp op) { all.push_back(op); });
    for (LayersOp op : all) {
      if (op.getKvOnly())
        op.setCalleeAttr(
            FlatSymbolRefAttr::get(kvOnlyBlock(op).getSymNameAttr()));
      if (!op.getKeep())
        continue;
      OpBuilder builder(op->getContext());
      builder.setInsertionPointAfter(op);
      auto restore = SelectOp::create(builder, op.getLoc(), op.getKeep(),
                                      op.getFrozen(), op.getResult());
      restore->setAttr(kPerLayer, builder.getUnitAttr());
      op.getResult().replaceAllUsesExcept(restore.getResult(), restore);
    }
    return success();
  }

  /// The block of `op` without anything its kv_append does not need.
  BlockOp kvOnlyBlock(LayersOp op) {
    auto block = symbols.lookup<BlockOp>(op.getCallee());
    std::string name = (block.getSymName() + "_kv").str();
    if (auto made = symbols.lookup<BlockOp>(name))
      return made;
    OpBuilder builder(block);
    auto copy = cast<BlockOp>(builder.clone(*block));
    copy.setSymName(name);
    symbols.insert(copy);
    Block &body = copy.getBody().front();
    body.getTerminator()->setOperand(0, body.getArgument(0));
    SmallVector<Operation *> ops(
        llvm::make_pointer_range(body.without_terminator()));
    for (Operation *inner : llvm::reverse(ops)) {
      if (isa<KVAppendOp>(inner))
        continue;
      if (inner->use_empty())
        inner->erase();
      else if (auto linear = dyn_cast<LinearOp>(inner))
        dropUnusedOutputs(linear);
    }
    return copy;
  }

  static void dropUnusedOutputs(LinearOp linear) {
    if (!linear.getEpilogue().empty())
      return;
    SmallVector<Value> weights;
    SmallVector<Type> types;
    SmallVector<OpResult> kept;
    for (auto [output, weight] :
         llvm::zip(linear.getOutputs(), linear.getWeights()))
      if (!output.use_empty()) {
        weights.push_back(weight);
        types.push_back(output.getType());
        kept.push_back(cast<OpResult>(output));
      }
    if (kept.size() == linear.getOutputs().size())
      return;
    OpBuilder builder(linear);
    auto slim = LinearOp::create(builder, linear.getLoc(), types,
                                 linear.getInput(), weights, ValueRange());
    for (auto [old, now] : llvm::zip(kept, slim.getOutputs()))
      Value(old).replaceAllUsesWith(now);
    linear.erase();
  }

  static bool isBuiltinColumn(StringRef name) {
    return name == "token" || name == "decision";
  }

  void collectColumns() {
    auto add = [&](StringRef name, Type type) {
      if (isBuiltinColumn(name) || plan->findColumn(name))
        return;
      auto rows = cast<RankedTensorType>(type);
      plan->columns.push_back({name.str(), rows.getElementType(),
                               rows.getRank() == 2 ? rows.getDimSize(1) : 1,
                               0});
    };
    for (auto stage : module.getOps<StageOp>()) {
      Block &body = stage.getBody().front();
      for (auto [name, argument] :
           llvm::zip(stage.getReads(), body.getArguments()))
        add(cast<StringAttr>(name).getValue(), argument.getType());
      for (auto [name, value] :
           llvm::zip(stage.getWrites(), body.getTerminator()->getOperands()))
        add(cast<StringAttr>(name).getValue(), value.getType());
    }
    llvm::sort(plan->columns, [](const Column &a, const Column &b) {
      return a.name < b.name;
    });
    for (Column &column : plan->columns) {
      column.offset = plan->rowBytes;
      plan->rowBytes += llvm::alignTo(column.width * 4, 64);
    }
    plan->rowBytes = std::max<int64_t>(plan->rowBytes, 64);
  }

  RowBuffer columnBuffer(StringRef name) const {
    RowBuffer buffer;
    if (name == "token")
      buffer.kind = RowBuffer::Token;
    else if (name == "decision")
      buffer.kind = RowBuffer::Decision;
    else {
      buffer.kind = RowBuffer::RowStore;
      buffer.offset = plan->findColumn(name)->offset;
      buffer.stride = plan->rowBytes;
    }
    return buffer;
  }

  LogicalResult planStage(StageOp stage) {
    auto entry = std::make_unique<StagePlan>();
    entry->op = stage;
    Block &body = stage.getBody().front();
    for (Operation &op : body)
      if (isa<KVAppendOp, AttendOp>(op))
        return op.emitOpError(
            "stands outside of layers: no repeated layer was found around it, "
            "and its keys and values have no KV level");
    for (auto use : body.getOps<UseOp>())
      if (failed(addWeight(use, use.getWeight())))
        return failure();

    LinePlanner planner(body, entry->line, 0);
    for (auto [name, argument] :
         llvm::zip(stage.getReads(), body.getArguments()))
      planner.bindArgument(argument,
                           columnBuffer(cast<StringAttr>(name).getValue()));
    for (auto [index, name] : llvm::enumerate(stage.getWrites()))
      planner.bindResult(index,
                         columnBuffer(cast<StringAttr>(name).getValue()));

    // Blocks are planned twice: once for their size, once the place is known.
    bool failedInside = false;
    planner.setNested([&](Operation *op) -> int64_t {
      auto layers = dyn_cast<LayersOp>(op);
      if (!layers)
        return 0;
      auto nested =
          planLayers(layers, entry->line.buffers.lookup(layers.getResult()), 0);
      if (failed(nested)) {
        failedInside = true;
        return 0;
      }
      int64_t bytes = (*nested)->line.arenaPerRow;
      entry->line.workerScratch =
          std::max(entry->line.workerScratch, (*nested)->line.workerScratch);
      symbols.erase((*nested)->block);
      (*nested)->block = BlockOp();
      entry->layers[op] = std::move(*nested);
      return bytes;
    });
    PlanContext context(*plan, entry->line, nullptr);
    planner.run([&](Operation *op) { return kernelNeeds(op, context); });
    if (failedInside)
      return failure();
    for (auto &[op, nested] : entry->layers) {
      int64_t first = nested->firstWeight;
      auto placed = planLayers(cast<LayersOp>(op),
                               entry->line.buffers.lookup(op->getResult(0)),
                               planner.nestedBase(op), first);
      if (failed(placed))
        return failure();
      nested = std::move(*placed);
    }
    for (auto select : body.getOps<SelectOp>())
      if (select->hasAttr(kPerLayer) &&
          !sameBuffer(entry->line.buffers.lookup(select.getResult()),
                      entry->line.buffers.lookup(select.getFalseValue())))
        return select.emitOpError("frozen rows cannot be restored in place");
    for (auto sample : body.getOps<SampleOp>()) {
      entry->logits = entry->line.buffers.lookup(sample.getLogits());
      entry->logitsWidth =
          cast<RankedTensorType>(sample.getLogits().getType()).getDimSize(1);
    }
    plan->stages.push_back(std::move(entry));
    return success();
  }

  FailureOr<std::unique_ptr<LayersPlan>> planLayers(LayersOp op,
                                                    RowBuffer stream,
                                                    int64_t base,
                                                    int64_t firstWeight = -1) {
    auto layers = std::make_unique<LayersPlan>();
    // Buffers belong to one use of the block, so each use plans a copy of it.
    auto shared = symbols.lookup<BlockOp>(op.getCallee());
    OpBuilder builder(shared);
    layers->block = cast<BlockOp>(builder.clone(*shared));
    layers->block.setSymName((shared.getSymName() + "_use").str());
    symbols.insert(layers->block);
    Block &body = layers->block.getBody().front();
    for (auto level : module.getOps<KVLevelOp>()) {
      if (level.getFirst() <= op.getFirst() &&
          int64_t(op.getFirst()) + op.getNumLayers() <=
              int64_t(level.getEnd())) {
        layers->kv = {int64_t(levelIndex(level)), int64_t(level.getHeads()),
                      int64_t(level.getHeadDim()), int64_t(level.getPage()),
                      level.getNumLayers()};
        layers->firstInLevel = op.getFirst() - level.getFirst();
      }
    }
    bool hasKV = !layers->block.getBody().getOps<KVAppendOp>().empty();
    if (hasKV && layers->kv.layers == 0)
      return op.emitOpError("layers must lie in one KV level");

    layers->weightStride = body.getNumArguments() - 1;
    if (firstWeight >= 0) {
      layers->firstWeight = firstWeight;
    } else {
      layers->firstWeight = plan->weights.size();
      for (Attribute entry : op.getWeights())
        for (auto [index, name] : llvm::enumerate(cast<ArrayAttr>(entry))) {
          auto symbol = cast<FlatSymbolRefAttr>(name).getValue();
          FailureOr<Packing> packing = packingOf(op, symbol);
          if (failed(packing))
            return failure();
          if (int64_t(plan->weights.size()) - layers->firstWeight >=
                  layers->weightStride &&
              plan->weights[layers->firstWeight + index].packing.format !=
                  packing->format)
            return op.emitOpError("weight ")
                   << index << " has different formats in different layers";
          plan->weights.push_back({symbol.str(), *packing});
        }
    }

    LinePlanner planner(body, layers->line, base);
    layers->line.arenaPerRow = base;
    planner.bindArgument(body.getArgument(0), stream);
    planner.bindResult(0, stream);
    PlanContext context(*plan, layers->line, layers.get());
    planner.run([&](Operation *inner) { return kernelNeeds(inner, context); });
    return layers;
  }

  int64_t levelIndex(KVLevelOp level) {
    int64_t index = 0;
    for (auto other : module.getOps<KVLevelOp>()) {
      if (other == level)
        return index;
      ++index;
    }
    return -1;
  }

  FailureOr<Packing> packingOf(Operation *user, StringRef symbol) {
    auto weight = symbols.lookup<WeightOpInterface>(symbol);
    RankedTensorType type = weight.getWeightType();
    std::optional<WeightFormat> chosen = weight.getWeightFormat();
    if (!chosen)
      return user->emitOpError("weight @")
             << symbol << " has no format; run adaptive-pack-weights";
    Packing packing;
    if (*chosen == WeightFormat::Plain) {
      packing.n = type.getNumElements();
      packing.k = 1;
      return packing;
    }
    packing.format = *parseFormat(stringifyWeightFormat(*chosen));
    packing.n = type.getDimSize(0);
    packing.k = type.getDimSize(1);
    return packing;
  }

  LogicalResult addWeight(Operation *user, StringRef symbol) {
    if (plan->weightIndex.count(symbol))
      return success();
    FailureOr<Packing> packing = packingOf(user, symbol);
    if (failed(packing))
      return failure();
    plan->weightIndex[symbol] = plan->weights.size();
    plan->weights.push_back({symbol.str(), *packing});
    return success();
  }

  ModuleOp module;
  SymbolTable symbols;
  std::unique_ptr<CodePlan> plan = std::make_unique<CodePlan>();
};
} // namespace

FailureOr<std::unique_ptr<CodePlan>> cpu::planCode(ModuleOp module) {
  return Planner(module).run();
}

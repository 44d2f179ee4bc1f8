// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-fuse-linear: raising makes one op per node; here elementwise chains
// become one `map` or the epilogue of the linear before them, and projections
// of the same rows become one op.
//
//   linear, sigmoid map, mul map, linear, mul map -> linear weights(gate, up)
//   epilogue

#include "AdaptiveDialect/Conversion/Passes.h"
#include "MainPath.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"

namespace adaptive {
#define GEN_PASS_DEF_FUSELINEAR
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// Clones an elementwise body to the end of `into`; gives the value it yields.
static Value inlineBody(OpBuilder &builder, Block &body, IRMapping &mapping) {
  for (Operation &op : body.without_terminator())
    builder.clone(op, mapping);
  return mapping.lookupOrDefault(
      cast<YieldOp>(body.getTerminator()).getValues()[0]);
}

static bool isReadOnlyBy(Value value, Operation *user) {
  return llvm::all_of(value.getUsers(),
                      [&](Operation *op) { return op == user; });
}

/// Puts the maps that only `map` reads into it. The scalar operations and their
/// order stay, so every bit of the result does too.
static MapOp absorbMaps(MapOp map) {
  SmallVector<Value> operands;
  auto indexOf = [&](Value value) {
    auto *found = llvm::find(operands, value);
    if (found == operands.end()) {
      operands.push_back(value);
      return operands.size() - 1;
    }
    return size_t(found - operands.begin());
  };
  bool any = false;
  for (Value operand : map.getInputs()) {
    auto producer = operand.getDefiningOp<MapOp>();
    if (producer && isReadOnlyBy(operand, map)) {
      any = true;
      for (Value inner : producer.getInputs())
        indexOf(inner);
    } else {
      indexOf(operand);
    }
  }
  if (!any)
    return {};
  OpBuilder builder(map);
  auto fused = MapOp::create(builder, map.getLoc(), map.getType(), operands);
  Block &body = fused.getBody().emplaceBlock();
  for (size_t i = 0; i < operands.size(); ++i)
    body.addArgument(builder.getF32Type(), map.getLoc());
  builder.setInsertionPointToEnd(&body);
  llvm::SmallDenseMap<Value, Value> scalars;
  IRMapping outer;
  for (auto [operand, argument] :
       llvm::zip(map.getInputs(), map.getBody().front().getArguments())) {
    Value &scalar = scalars[operand];
    auto producer = operand.getDefiningOp<MapOp>();
    if (!scalar && producer && isReadOnlyBy(operand, map)) {
      IRMapping inner;
      for (auto [value, parameter] : llvm::zip(
               producer.getInputs(), producer.getBody().front().getArguments()))
        inner.map(parameter, body.getArgument(indexOf(value)));
      scalar = inlineBody(builder, producer.getBody().front(), inner);
    } else if (!scalar) {
      scalar = body.getArgument(indexOf(operand));
    }
    outer.map(argument, scalar);
  }
  YieldOp::create(builder, map.getLoc(),
                  inlineBody(builder, map.getBody().front(), outer));
  SmallVector<Operation *> producers;
  for (Value operand : map.getInputs())
    if (operand.getDefiningOp<MapOp>() && isReadOnlyBy(operand, map))
      if (!llvm::is_contained(producers, operand.getDefiningOp()))
        producers.push_back(operand.getDefiningOp());
  map.replaceAllUsesWith(fused.getResult());
  map.erase();
  for (Operation *producer : producers)
    producer->erase();
  return fused;
}

/// A linear with one weight and nothing behind it, which only `user` reads.
static LinearOp plainLinear(Value value, Operation *user) {
  auto linear = value.getDefiningOp<LinearOp>();
  if (!linear || linear.getWeights().size() != 1 ||
      !linear.getEpilogue().empty() || !isReadOnlyBy(value, user))
    return {};
  return linear;
}

/// Makes `map` the epilogue of the linears it reads.
static bool makeEpilogue(MapOp map) {
  SmallVector<LinearOp> linears;
  for (Value operand : map.getInputs())
    if (LinearOp linear = plainLinear(operand, map)) {
      // Of linears over different rows the last one gets the epilogue: what it
      // computes is needed last, the other's rows are there by then.
      if (!linears.empty() && (linears[0].getInput() != linear.getInput() ||
                               linears[0].getWeights()[0].getType() !=
                                   linear.getWeights()[0].getType())) {
        if (linear->isBeforeInBlock(linears[0]))
          continue;
        linears.clear();
      }
      linears.push_back(linear);
    }
  if (linears.empty())
    return false;
  SmallVector<Value> weights, extras;
  SmallVector<unsigned> argumentOf(map.getInputs().size());
  for (LinearOp linear : linears)
    weights.push_back(linear.getWeights()[0]);
  for (auto [i, operand] : llvm::enumerate(map.getInputs())) {
    auto *found = llvm::find_if(linears, [&, value = operand](LinearOp linear) {
      return linear.getOutputs()[0] == value;
    });
    if (found != linears.end()) {
      argumentOf[i] = found - linears.begin();
      continue;
    }
    argumentOf[i] = weights.size() + extras.size();
    extras.push_back(operand);
  }
  OpBuilder builder(map);
  auto fused = LinearOp::create(builder, map.getLoc(), TypeRange{map.getType()},
                                linears[0].getInput(), weights, extras);
  Block &body = fused.getEpilogue().emplaceBlock();
  for (size_t i = 0; i < weights.size() + extras.size(); ++i)
    body.addArgument(builder.getF32Type(), map.getLoc());
  builder.setInsertionPointToEnd(&body);
  IRMapping mapping;
  for (auto [argument, index] :
       llvm::zip(map.getBody().front().getArguments(), argumentOf))
    mapping.map(argument, body.getArgument(index));
  YieldOp::create(builder, map.getLoc(),
                  inlineBody(builder, map.getBody().front(), mapping));
  map.replaceAllUsesWith(fused.getOutputs()[0]);
  map.erase();
  for (LinearOp linear : linears)
    linear.erase();
  return true;
}

/// Joins linears without epilogue that read the same rows, at the first of
/// them. The head of an exit is not joined with what the layers behind it
/// compute.
static void joinProjections(ModelOp model) {
  llvm::SetVector<Operation *> main = raising::mainPath(model);
  llvm::MapVector<std::pair<Value, unsigned>, SmallVector<LinearOp>> byInput;
  for (auto linear : model.getBody().front().getOps<LinearOp>())
    if (linear.getEpilogue().empty())
      byInput[{linear.getInput(), unsigned(main.contains(linear))}].push_back(
          linear);
  for (auto &[key, linears] : byInput) {
    Value input = key.first;
    if (linears.size() < 2)
      continue;
    SmallVector<Value> weights, results;
    SmallVector<Type> types;
    SmallVector<Location> locations;
    for (LinearOp linear : linears) {
      llvm::append_range(weights, linear.getWeights());
      llvm::append_range(results, linear.getOutputs());
      llvm::append_range(types, linear->getResultTypes());
      locations.push_back(linear.getLoc());
    }
    OpBuilder builder(linears[0]);
    auto joined = LinearOp::create(builder, builder.getFusedLoc(locations),
                                   types, input, weights, ValueRange());
    for (auto [from, to] : llvm::zip(results, joined.getOutputs()))
      from.replaceAllUsesWith(to);
    for (LinearOp linear : linears)
      linear.erase();
  }
}

/// Weights are read where the model starts, so that ops can move freely.
static void hoistUses(Block &block) {
  for (auto use : llvm::make_early_inc_range(block.getOps<UseOp>()))
    use->moveBefore(&block, block.begin());
}

namespace {
struct FuseLinear : adaptive::impl::FuseLinearBase<FuseLinear> {
  void runOnOperation() override {
    for (auto model : getOperation().getOps<ModelOp>()) {
      Block &block = model.getBody().front();
      hoistUses(block);
      // In order, so that a chain has collapsed into its last map by the time
      // that one is looked at.
      for (Operation *op = &block.front(); op;) {
        Operation *next = op->getNextNode();
        if (auto map = dyn_cast<MapOp>(op))
          absorbMaps(map);
        op = next;
      }
      for (Operation *op = &block.front(); op;) {
        Operation *next = op->getNextNode();
        if (auto map = dyn_cast<MapOp>(op))
          makeEpilogue(map);
        op = next;
      }
      joinProjections(model);
    }
  }
};
} // namespace

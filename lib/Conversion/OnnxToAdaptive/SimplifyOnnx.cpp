// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-simplify-onnx: what an exporter leaves undone. Files written without
// optimisation compute shapes, transpose weights and cast to the same type in
// every layer.

#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/Transforms/DeadOps.h"
#include "ShapeRules.h"
#include "SymbolicShapes.h"
#include "Twins.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"

namespace adaptive {
#define GEN_PASS_DEF_SIMPLIFYONNX
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

/// Replaces calls of model-local functions by their bodies, but for
/// ai.adaptive's, whose names say what they mean. False if a call nests too
/// deeply.
static LogicalResult inlineCalls(func::FuncOp function, SymbolTable &symbols) {
  constexpr int kMaxRounds =
      64; // functions cannot call themselves; files can lie
  for (int round = 0; round < kMaxRounds; ++round) {
    bool any = false;
    for (auto node : llvm::make_early_inc_range(
             function.getBody().front().getOps<NodeOp>())) {
      auto name = node->getAttrOfType<FlatSymbolRefAttr>("onnx.function");
      auto callee = name && node.getDomainName() != "ai.adaptive"
                        ? symbols.lookup<func::FuncOp>(name.getValue())
                        : func::FuncOp();
      if (!callee || !callee.getBody().hasOneBlock() ||
          callee.getNumArguments() != node.getInputs().size())
        continue;
      Block &body = callee.getBody().front();
      IRMapping mapping;
      mapping.map(body.getArguments(), node.getInputs());
      OpBuilder builder(node);
      for (Operation &op : body.without_terminator()) {
        Operation *copy = builder.clone(op, mapping);
        copy->setLoc(op.getLoc());
      }
      for (auto [result, value] :
           llvm::zip(node.getResults(), body.getTerminator()->getOperands()))
        result.replaceAllUsesWith(mapping.lookupOrDefault(value));
      node.erase();
      any = true;
    }
    if (!any)
      return success();
  }
  return emitError(function.getLoc(),
                   "calls of model-local functions nest more than ")
         << kMaxRounds << " deep";
}

/// Replaces nodes that compute what an earlier node computes. Random operators
/// are left alone.
static void mergeEqualNodes(Block &block) {
  std::map<std::pair<const void *, std::vector<const void *>>, NodeOp> known;
  Builder builder(block.getParentOp()->getContext());
  for (auto node : llvm::make_early_inc_range(block.getOps<NodeOp>())) {
    if (node.getOpType().contains("Random") || node.is("Bernoulli") ||
        node.is("Multinomial") || !node.getSubgraphs().empty())
      continue;
    Attribute absent = builder.getUnitAttr();
    Attribute what = builder.getArrayAttr(
        {node.getOpTypeAttr(),
         node.getDomainAttr() ? Attribute(node.getDomainAttr()) : absent,
         node.getOnnxAttrs() ? Attribute(*node.getOnnxAttrs()) : absent,
         builder.getI64IntegerAttr(node.getNumResults())});
    std::vector<const void *> operands;
    for (Value operand : node.getInputs())
      operands.push_back(operand.getAsOpaquePointer());
    auto [entry, isNew] =
        known.try_emplace({what.getAsOpaquePointer(), operands}, node);
    if (isNew || node->getResultTypes() != entry->second->getResultTypes())
      continue;
    node->replaceAllUsesWith(entry->second);
    node.erase();
  }
}

static bool isReturned(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    return user->hasTrait<OpTrait::IsTerminator>();
  });
}

/// The constant that a node's known elements make; null when they depend on
/// symbols or have another type.
static DenseElementsAttr constantOf(Value value, const SymbolicShapes &shapes) {
  const TensorInfo &info = shapes.of(value);
  auto sizes = info.elements ? constantShape(info.shape) : std::nullopt;
  auto tensor = dyn_cast<TensorType>(value.getType());
  if (!sizes || !tensor)
    return {};
  Type element = tensor.getElementType();
  auto type = RankedTensorType::get(*sizes, element);
  SmallVector<Attribute> elements;
  for (const Scalar &scalar : *info.elements) {
    auto number = scalar.number();
    if (!number)
      return {};
    if (isa<FloatType>(element))
      elements.push_back(FloatAttr::get(element, *number));
    else if (element.isSignlessInteger() && !scalar.isFloat)
      elements.push_back(
          IntegerAttr::get(element, APInt(element.getIntOrFloatBitWidth(),
                                          uint64_t(*scalar.integer.constant()),
                                          false, /*implicitTrunc=*/true)));
    else
      return {};
  }
  return DenseElementsAttr::get(type, elements);
}

/// The operand that the node's result equals; null if it changes something.
static Value unchanged(NodeOp node, const SymbolicShapes &shapes) {
  if (!node.getDomainName().empty() || node.getInputs().empty() ||
      node.getNumResults() != 1)
    return {};
  Value input = node.getInputs()[0];
  const TensorInfo &from = shapes.of(input), &to = shapes.of(node.getResult(0));
  if (node.is("Identity") ||
      (node.is("Concat") && node.getInputs().size() == 1))
    return input;
  if (node.is("Cast") || node.is("CastLike"))
    return getElementTypeOrSelf(input.getType()) ==
                       getElementTypeOrSelf(node.getResult(0).getType()) &&
                   isa<TensorType>(input.getType())
               ? input
               : Value();
  if (!from.ranked || !to.ranked || !shapes.equal(from.shape, to.shape))
    return {};
  if (node.is("Reshape") || node.is("Expand") || node.is("Squeeze") ||
      node.is("Unsqueeze") || node.is("Flatten"))
    return input;
  if (node.is("Transpose")) {
    auto perm = findInts(node, "perm");
    return perm && llvm::is_sorted(*perm) ? input : Value();
  }
  if (node.is("Slice")) {
    auto ranges = sliceRanges(shapes, node);
    return ranges &&
                   llvm::all_of(*ranges,
                                [](const SliceRange &r) { return r.step == 1; })
               ? input
               : Value();
  }
  return {};
}

namespace {
struct SimplifyOnnx : adaptive::impl::SimplifyOnnxBase<SimplifyOnnx> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (auto function :
         llvm::to_vector(getOperation().getOps<func::FuncOp>())) {
      if (!function.isPublic() || !function.getBody().hasOneBlock())
        continue;
      if (failed(inlineCalls(function, symbols)))
        return signalPassFailure();
      simplify(function, symbols);
    }
    for (auto function :
         llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      auto domain = function->getAttrOfType<ArrayAttr>("onnx.function");
      bool isOurs = domain && !domain.empty() &&
                    domain[0] == StringAttr::get(&getContext(), "ai.adaptive");
      if (function.isPrivate() && domain && !isOurs &&
          SymbolTable::symbolKnownUseEmpty(function, getOperation()))
        function.erase();
    }
  }

  void simplify(func::FuncOp function, SymbolTable &symbols) {
    SymbolicShapes shapes(function);
    Block &block = function.getBody().front();
    llvm::DenseMap<Attribute, Value> constants;
    for (auto node : block.getOps<NodeOp>()) {
      OpBuilder builder(node);
      for (Value result : node.getResults()) {
        if (result.use_empty())
          continue;
        if (DenseElementsAttr value = constantOf(result, shapes)) {
          if (value.getType() != result.getType() && isReturned(result))
            continue;
          Value &known = constants[value];
          if (!known) {
            OpBuilder atStart = OpBuilder::atBlockBegin(&block);
            known = onnx_carrier::ConstantOp::create(
                atStart, node.getLoc(), value.getType(),
                cast<ElementsAttr>(Attribute(value)));
          }
          result.replaceAllUsesWith(known);
        }
      }
      if (node.getNumResults() != 1)
        continue;
      Value result = node.getResult(0);
      Value same = unchanged(node, shapes);
      if (same && (same.getType() == result.getType() || !isReturned(result)))
        result.replaceAllUsesWith(same);
      else if (Value weight = transposedWeight(node, symbols))
        result.replaceAllUsesWith(weight);
    }
    mergeEqualNodes(block);
    eraseDeadOps(block, [](Operation *op) {
      return op->use_empty() &&
             isa<NodeOp, onnx_carrier::ConstantOp, onnx_carrier::NoneOp, UseOp>(
                 op);
    });
  }

  /// The weight that a transpose of a stored matrix is.
  Value transposedWeight(NodeOp node, SymbolTable &symbols) {
    auto use = node.is("Transpose") && !node.getInputs().empty()
                   ? node.getInputs()[0].getDefiningOp<UseOp>()
                   : UseOp();
    auto weight = use ? symbols.lookup<WeightOp>(use.getWeight()) : WeightOp();
    auto perm = findInts(node, "perm");
    if (!weight || (perm && *perm != ArrayRef<int64_t>{1, 0}) ||
        isReturned(node.getResult(0)))
      return {};
    bool isNew;
    WeightOp twin = transposedTwin(weight, symbols, isNew);
    if (!twin)
      return {};
    OpBuilder builder(node);
    return UseOp::create(builder, node.getLoc(), twin.getType(),
                         twin.getSymName());
  }
};
} // namespace

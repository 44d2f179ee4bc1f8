// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Puts the exits of a spec into a model:
//
//   %h = layers 0..30 (%e)          %h24 = layers 0..24 (%e)
//   %y = head %h              ->    %s   = score of %h24
//   yield %y                        %h   = layers 24..30 (%h24)
//                                   %x   = exit (head (map %h24)), (head %h),
//                                   %s yield %x

#include "Exits/ExitSpec.h"

#include "AdaptiveDialect/Import/WeightStore.h"
#include "AdaptiveDialect/Transforms/Passes.h"

#include "ee/file.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/Path.h"

namespace adaptive {
#define GEN_PASS_DEF_INSERTEXITS
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
class Inserter {
public:
  Inserter(ModuleOp module, ModelOp model, StringRef spec)
      : module(module), model(model), symbols(module),
        specFile(ee::inQuotes(spec.str())),
        store(llvm::sys::path::parent_path(spec).empty()
                  ? "."
                  : llvm::sys::path::parent_path(spec).str()),
        builder(model.getContext()), loc(model.getLoc()) {}

  LogicalResult run(ArrayRef<ExitSpec> specs) {
    Block &body = model.getBody().front();
    auto yield = cast<YieldOp>(body.getTerminator());
    int64_t depth = 0;
    // Heads are copied to the exits, before ops that may name their weights.
    for (Operation &op : llvm::make_early_inc_range(body))
      if (isa<UseOp>(op))
        op.moveBefore(&body, body.begin());
    for (Operation &op : body) {
      if (isa<ExitPointOpInterface>(op))
        return op.emitError("the model has exits already; an exit spec is for "
                            "models without");
      if (isa<RecurseOp>(op))
        return op.emitError(
            "an exit spec cannot cut a recursion; export the model with exits");
      if (auto layers = dyn_cast<LayersOp>(op)) {
        depth = layers.getFirst() + layers.getNumLayers();
        last = layers.getResult();
      }
    }
    if (!last)
      return model.emitError("an exit spec needs a model with layers");
    Value result = yield.getValues()[0];
    if (cast<RankedTensorType>(result.getType()).getRank() != 2)
      return model.emitError("exits are inserted before sampling");
    ForwardSliceOptions options;
    options.filter = [&](Operation *op) { return op != yield.getOperation(); };
    getForwardSlice(last, &head, options);
    for (Operation &op : body)
      if (head.contains(&op))
        headOps.push_back(&op);

    // Deepest first: each exit wraps what the deeper ones yield.
    for (int64_t index = specs.size() - 1; index >= 0; --index) {
      const ExitSpec &spec = specs[index];
      if (spec.layer < 1 || spec.layer >= depth)
        return error(spec) << "layer must lie in [1, " << depth - 1
                           << "], but got " << spec.layer;
      FailureOr<Value> wrapped = insert(spec, index, yield.getValues()[0]);
      if (failed(wrapped))
        return failure();
      yield->setOperand(0, *wrapped);
    }
    return success();
  }

private:
  /// An error about one exit of the spec.
  InFlightDiagnostic error(const ExitSpec &spec) {
    return model.emitError()
           << specFile << " exit " << ee::inQuotes(spec.name) << ": ";
  }

  FailureOr<Value> insert(const ExitSpec &spec, int64_t index, Value rest) {
    Value state = splitAt(spec.layer);
    Value previous =
        spec.criterion == Criterion::Cosine
            ? (spec.layer == 1
                   ? cast<LayersOp>(state.getDefiningOp()).getInput()
                   : splitAt(spec.layer - 1))
            : Value();
    state = splitAt(spec.layer);
    builder.setInsertionPointAfterValue(state);
    auto scalar =
        RankedTensorType::get({ShapedType::kDynamic}, builder.getF32Type());
    Value score;
    if (spec.criterion == Criterion::Probe) {
      // One row of a matrix does as well: that is how torch stores a probe.
      SmallVector<int64_t> accepted = {rowWidth(state)};
      if (auto stored = store.find(spec.probeFile, spec.probeWeight);
          stored && stored->shape.size() == 2 && stored->shape[0] == 1)
        accepted.insert(accepted.begin(), 1);
      FailureOr<Value> weight =
          use(spec, "probe weight", spec.probeFile, spec.probeWeight, accepted);
      if (failed(weight))
        return failure();
      FailureOr<Value> bias =
          use(spec, "probe bias", spec.probeFile, spec.probeBias, {1});
      if (failed(bias))
        return failure();
      score = ProbeOp::create(builder, loc, scalar, state, *weight, *bias);
    } else if (spec.criterion == Criterion::Cosine) {
      score = CosineOp::create(builder, loc, scalar, previous, state);
    }
    FailureOr<Value> input = headInput(spec, state);
    if (failed(input))
      return failure();
    IRMapping mapping;
    mapping.map(last, *input);
    for (Operation *op : headOps)
      builder.clone(*op, mapping);
    Value value = mapping.lookup(headResult(rest));
    if (!score)
      score = CriteriaOp::create(builder, loc, scalar, spec.criterion, value);
    builder.setInsertionPoint(model.getBody().front().getTerminator());
    return ExitOp::create(builder, loc, value.getType(), value, rest, score,
                          state, index, spec.layer, APFloat(spec.threshold),
                          spec.criterion, spec.fill, spec.name)
        .getResult();
  }

  /// The model's logits: what the deepest exit found as the yielded value.
  Value headResult(Value rest) {
    if (!logits)
      logits = rest;
    return logits;
  }

  /// The residual stream behind `layer` layers; cuts a layers op when needed.
  Value splitAt(int64_t layer) {
    for (Operation &op : model.getBody().front()) {
      auto layers = dyn_cast<LayersOp>(op);
      if (!layers)
        continue;
      int64_t first = layers.getFirst(), end = first + layers.getNumLayers();
      if (end == layer)
        return layers.getResult();
      if (!(first < layer && layer < end))
        continue;
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(layers);
      ArrayRef<Attribute> weights = layers.getWeights().getValue();
      auto before = LayersOp::create(
          builder, layers.getLoc(), layers.getType(), layers.getCalleeAttr(),
          layers.getInput(), Value(), Value(), layers.getFirstAttr(),
          builder.getArrayAttr(weights.take_front(layer - first)), UnitAttr());
      layers.getInputMutable().assign(before.getResult());
      layers.setFirst(layer);
      layers.setWeightsAttr(
          builder.getArrayAttr(weights.drop_front(layer - first)));
      return before.getResult();
    }
    llvm_unreachable("the layer was checked against the depth of the model");
  }

  FailureOr<Value> headInput(const ExitSpec &spec, Value state) {
    if (spec.head == "reuse")
      return state;
    Value x = state;
    int64_t width = rowWidth(state);
    SmallVector<StringRef> matrices;
    if (spec.head == "map")
      matrices = {"map"};
    else
      matrices = {"down", "up"};
    for (StringRef key : matrices) {
      // The last one leads back to the residual stream; between two the rank
      // is the file's to choose.
      int64_t out = key == matrices.back() ? width : ShapedType::kDynamic;
      FailureOr<Value> matrix =
          use(spec, ("head " + key).str(), spec.headFile,
              spec.headTensors.at(key.str()), {rowWidth(x), out},
              /*transposed=*/true);
      if (failed(matrix))
        return failure();
      auto rows = RankedTensorType::get(
          {ShapedType::kDynamic,
           cast<RankedTensorType>(matrix->getType()).getDimSize(0)},
          builder.getF32Type());
      x = LinearOp::create(builder, loc, TypeRange{rows}, x,
                           ValueRange{*matrix}, ValueRange())
              .getOutputs()[0];
    }
    auto named = spec.headTensors.find("bias");
    if (named == spec.headTensors.end())
      return x;
    FailureOr<Value> bias =
        use(spec, "head bias", spec.headFile, named->second, {width});
    if (failed(bias))
      return failure();
    auto map = MapOp::create(builder, loc, x.getType(), ValueRange{x, *bias});
    OpBuilder::InsertionGuard guard(builder);
    Block *block = builder.createBlock(
        &map.getBody(), {}, {builder.getF32Type(), builder.getF32Type()},
        {loc, loc});
    Value sum = arith::AddFOp::create(builder, loc, block->getArgument(0),
                                      block->getArgument(1));
    YieldOp::create(builder, loc, sum);
    return map.getResult();
  }

  /// Width of the rows `value`.
  static int64_t rowWidth(Value value) {
    return cast<RankedTensorType>(value.getType()).getDimSize(1);
  }

  /// [64, 32]; an extent that is free is any.
  static std::string shapeText(ArrayRef<int64_t> shape) {
    std::string text = "[";
    for (auto [index, extent] : llvm::enumerate(shape))
      text += (index ? ", " : "") +
              (ShapedType::isDynamic(extent) ? "any" : std::to_string(extent));
    return text + "]";
  }

  static bool accepts(ArrayRef<int64_t> accepted, ArrayRef<int64_t> shape) {
    return accepted.size() == shape.size() &&
           llvm::all_of(llvm::zip(accepted, shape), [](auto pair) {
             auto [want, got] = pair;
             return got > 0 && (ShapedType::isDynamic(want) || want == got);
           });
  }

  /// The value of a tensor of the spec, which plays the part `role` and has the
  /// shape `accepted`; `transposed` turns [in, out] around.
  FailureOr<Value> use(const ExitSpec &spec, StringRef role, StringRef file,
                       StringRef tensor, ArrayRef<int64_t> accepted,
                       bool transposed = false) {
    auto view = store.find(file, tensor);
    if (!view)
      return error(spec) << role << ": " << view.error();
    Type element;
    switch (view->onnxType) {
    case 1:
      element = builder.getF32Type();
      break;
    case 10:
      element = builder.getF16Type();
      break;
    case 11:
      element = builder.getF64Type();
      break;
    case 16:
      element = builder.getBF16Type();
      break;
    default:
      return error(spec) << role << ": tensor " << ee::inQuotes(tensor.str())
                         << " must be of f16, bf16, f32 or f64";
    }
    if (!accepts(accepted, view->shape))
      return error(spec) << role << ": tensor " << ee::inQuotes(tensor.str())
                         << " must have the shape " << shapeText(accepted)
                         << ", but has " << shapeText(view->shape);
    SmallVector<int64_t> shape(view->shape);
    if (transposed)
      std::swap(shape[0], shape[1]);
    auto type = RankedTensorType::get(shape, element);
    // Two files may use one name, and a tensor may be read both ways around.
    std::string name =
        ("exit." + file + "." + tensor + (transposed ? ".T" : "")).str();
    if (!symbols.lookup(name)) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(model);
      auto weight =
          WeightOp::create(builder, loc, name, type, ("exits:" + file).str(),
                           tensor, transposed, StringAttr());
      symbols.insert(weight);
    }
    return UseOp::create(builder, loc, type,
                         FlatSymbolRefAttr::get(builder.getContext(), name))
        .getResult();
  }

  ModuleOp module;
  ModelOp model;
  SymbolTable symbols;
  std::string specFile; ///< as messages name it
  WeightStore store;
  OpBuilder builder;
  Location loc;
  Value last, logits;
  llvm::SetVector<Operation *> head;
  SmallVector<Operation *> headOps;
};

struct InsertExits : adaptive::impl::InsertExitsBase<InsertExits> {
  using Base::Base;

  void runOnOperation() override {
    auto specs = readExitSpec(spec);
    if (!specs) {
      emitError(UnknownLoc::get(&getContext())) << specs.error();
      return signalPassFailure();
    }
    for (auto model :
         llvm::make_early_inc_range(getOperation().getOps<ModelOp>()))
      if (failed(Inserter(getOperation(), model, spec).run(*specs)))
        return signalPassFailure();
  }
};
} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The walk over the carrier function: what its arguments are, which rule a node
// has, what its outputs must be, and the report when something is in the way.

#include "Raiser.h"

#include "AdaptiveDialect/Transforms/DeadOps.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/DebugLog.h"

#define DEBUG_TYPE "adaptive-raise-rows"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

static constexpr int64_t defaultPosition = 2048;

Raiser::Raiser(func::FuncOp function, int64_t maxPosition)
    : function(function), module(function->getParentOfType<ModuleOp>()),
      symbols(module), shapes(function), builder(function.getContext()),
      loc(function.getLoc()),
      maxPosition(maxPosition == 0 ? defaultPosition : maxPosition),
      isDefaultPosition(maxPosition == 0) {}

std::string Raiser::nameOf(NodeOp node) const {
  if (auto name = dyn_cast<NameLoc>(node.getLoc()))
    return name.getName().str();
  auto names = node->getAttrOfType<ArrayAttr>("onnx.names");
  auto first =
      names && !names.empty() ? dyn_cast<StringAttr>(names[0]) : StringAttr();
  return first && !first.getValue().empty() ? first.getValue().str()
                                            : node.getOpType().str();
}

const Abstract &Raiser::get(Value value) const {
  static const Abstract none = Unknown{};
  auto found = values.find(value);
  return found == values.end() ? none : found->second;
}

const Abstract &Raiser::input(NodeOp node, unsigned index) const {
  static const Abstract absent = Absent{};
  return hasInput(node, index) ? get(node.getInputs()[index]) : absent;
}

Unknown Raiser::failUnlessBlamed(NodeOp node, const Twine &reason) const {
  for (Value operand : node.getInputs())
    if (std::holds_alternative<Unknown>(get(operand)))
      return {};
  return fail(reason);
}

/// The dimension along which `argument` is extended by the launch's rows: it
/// goes into a Concat first, or into a past slot of Attention. nullopt: it is
/// no cache.
static std::optional<int64_t> cacheAxis(Value argument) {
  for (OpOperand &use : argument.getUses()) {
    auto node = dyn_cast<NodeOp>(use.getOwner());
    if (!node)
      continue;
    if (node.is("Attention") &&
        (use.getOperandNumber() == 4 || use.getOperandNumber() == 5))
      return 2;
    bool passes = node.is("Identity") || node.is("Cast") ||
                  (node.is("Concat") && node.getInputs().size() == 1);
    if (passes)
      if (auto axis = cacheAxis(node.getResult(0)))
        return axis;
    if (node.is("Concat") && node.getInputs().size() == 2 &&
        use.getOperandNumber() == 0)
      return intAttr(node, "axis", 0);
  }
  return std::nullopt;
}

static bool indexesTable(Value argument) {
  return llvm::any_of(argument.getUses(), [&](OpOperand &use) {
    auto node = dyn_cast<NodeOp>(use.getOwner());
    if (!node)
      return false;
    if (node.is("Cast") || node.is("Identity"))
      return indexesTable(node.getResult(0));
    return node.is("Gather") && use.getOperandNumber() == 1 &&
           isa_and_nonnull<UseOp, onnx_carrier::ConstantOp>(
               node.getInputs()[0].getDefiningOp()) &&
           isa<FloatType>(getElementTypeOrSelf(node.getInputs()[0].getType()));
  });
}

static bool feedsExit(Value argument) {
  return llvm::any_of(argument.getUsers(), [](Operation *user) {
    auto node = dyn_cast<NodeOp>(user);
    return node && node.getDomainName() == "ai.adaptive";
  });
}

/// Notes by which name the file knows what the runtime feeds.
void Raiser::addInput(BlockArgument argument, InputRole role) {
  auto name = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                    "onnx.name");
  if (name)
    inputs.push_back(InputAttr::get(builder.getContext(), name, role));
}

LogicalResult Raiser::bindArguments() {
  auto nameOfArgument = [&](unsigned i) {
    auto name = function.getArgAttrOfType<StringAttr>(i, "onnx.name");
    return name ? name.getValue() : StringRef();
  };
  auto arguments = function.getArguments();
  // Caches first: they say what the length of the past is called.
  bool anyCache = false;
  for (BlockArgument argument : arguments) {
    const TensorInfo &info = shapes.of(argument);
    auto axis = isa<FloatType>(getElementTypeOrSelf(argument.getType())) &&
                        info.shape.size() >= 3
                    ? cacheAxis(argument)
                    : std::nullopt;
    auto position = axis ? normalAxis(*axis, info.shape.size()) : std::nullopt;
    if (!position)
      continue;
    values[argument] = CacheInput{argument.getArgNumber()};
    addInput(argument, InputRole::Past);
    SymExpr length = info.shape[*position];
    if (anyCache)
      shapes.symbols.unify(past, length);
    past = anyCache ? past : length;
    anyCache = true;
  }
  // Token ids: by name, or the one integer input that looks up a table.
  auto isIds = [&](BlockArgument argument) {
    return argument.getType() &&
           getElementTypeOrSelf(argument.getType()).isInteger() &&
           shapes.rank(argument) == 2;
  };
  for (BlockArgument argument : arguments)
    if (isIds(argument) &&
        nameOfArgument(argument.getArgNumber()) == "input_ids")
      idsArgument = argument.getArgNumber();
  for (BlockArgument argument : arguments)
    if (!idsArgument && isIds(argument) && indexesTable(argument) &&
        nameOfArgument(argument.getArgNumber()) != "position_ids")
      idsArgument = argument.getArgNumber();
  if (!idsArgument)
    return emitError(
        function.getLoc(),
        "cannot be raised: no input of token ids [batch, sequence]; "
        "an integer input named 'input_ids' or one that indexes an "
        "embedding table is needed");
  const Shape &shape = shapes.shape(arguments[*idsArgument]);
  batch = shape[0];
  sequence = shape[1];
  if (sequence.isConstant(1))
    return emitError(function.getLoc(),
                     "cannot be raised: the sequence length of input '")
           << nameOfArgument(*idsArgument)
           << "' is fixed to 1; it must be dynamic";
  for (BlockArgument argument : arguments) {
    unsigned i = argument.getArgNumber();
    StringRef name = nameOfArgument(i);
    size_t rank = shapes.rank(argument);
    Type element = getElementTypeOrSelf(argument.getType());
    if (std::holds_alternative<CacheInput>(get(argument)))
      continue;
    if (i == *idsArgument) {
      Axis batchAxis, rowAxis{{Factor::Row, sequence, 0}};
      if (!batch.isConstant(1))
        batchAxis.push_back({Factor::Batch, batch, 0});
      values[argument] = TokenIds{{batchAxis, rowAxis}};
      addInput(argument, InputRole::InputIds);
    } else if (name == "attention_mask" && rank == 2) {
      values[argument] =
          MaskValue::uniform(1); // all tokens of a sequence are there
      addInput(argument, InputRole::AttentionMask);
    } else if (name == "position_ids" && element.isInteger() && rank == 2) {
      values[argument] = AffineIndex{{0, 1}, past};
      addInput(argument, InputRole::PositionIds);
    } else if (name == "cache_position" && element.isInteger() && rank == 1) {
      values[argument] = AffineIndex{{1}, past};
      addInput(argument, InputRole::CachePosition);
    } else if (element.isInteger(1) && rank == 2 &&
               (name == "enabled" || feedsExit(argument))) {
      values[argument] = RowFlag{i};
    } else {
      values[argument] =
          fail("input '" + name +
               "' is none of token ids, attention_mask, position_ids, "
               "cache_position, a KV cache or the enabled flags of exits");
    }
  }
  return success();
}

void Raiser::apply(NodeOp node, Results results) {
  if (node.getDomainName() == "ai.adaptive") {
    results[0] = node.getOpType() == "Exit" ? exitPoint(node)
                 : node.getOpType() == "Keep"
                     ? keep(node)
                     : Abstract(fail("no rule for this operator"));
    return;
  }
  if (!node.getDomainName().empty()) {
    results[0] =
        fail("no rule for operators of domain '" + node.getDomainName() + "'");
    return;
  }
  StringRef name = node.getOpType();
  if (node.getInputs().empty()) {
    results[0] = fail("it has no inputs");
    return;
  }
  if (name == "Split")
    return split(node, results);
  if (name == "Attention")
    return attention(node, results);
  using Rule = Abstract (Raiser::*)(NodeOp);
  Rule rule =
      llvm::StringSwitch<Rule>(name)
          .Cases({"Reshape", "Squeeze", "Unsqueeze", "Flatten"},
                 &Raiser::reshape)
          .Case("Transpose", &Raiser::transpose)
          .Case("Expand", &Raiser::expand)
          .Case("Slice", &Raiser::slice)
          .Case("Concat", &Raiser::concat)
          .Case("Range", &Raiser::range)
          .Case("Trilu", &Raiser::trilu)
          .Case("CumSum", &Raiser::cumSum)
          .Case("ConstantOfShape", &Raiser::constantOfShape)
          .Case("Gather", &Raiser::gather)
          .Case("GatherND", &Raiser::gatherND)
          .Case("MatMul", &Raiser::matmul)
          .Case("Gemm", &Raiser::gemm)
          .Cases({"RMSNormalization", "SimplifiedLayerNormalization",
                  "LayerNormalization"},
                 &Raiser::normalization)
          .Case("ReduceMean", &Raiser::reduceMean)
          .Case("RotaryEmbedding", &Raiser::rotaryEmbedding)
          .Case("Softmax", &Raiser::softmax)
          .Cases({"Gelu", "Dropout", "Swish"}, &Raiser::elementwise)
          .Default(isElementwise(name) ? &Raiser::elementwise : nullptr);
  if (!rule) {
    results[0] = fail("no rule for this operator");
    return;
  }
  results[0] = (this->*rule)(node);
}

/// Whether a value's dimensions are those that shape analysis gives it. They
/// can differ only when the file contradicts itself.
static bool fitsRank(const Abstract &value, size_t rank) {
  return std::visit(
      [&](const auto &known) {
        using T = std::decay_t<decltype(known)>;
        if constexpr (std::is_same_v<T, RowsView> ||
                      std::is_same_v<T, TokenIds>)
          return known.axes.size() == rank;
        else if constexpr (std::is_same_v<T, HeadMix>)
          return known.base.axes.size() == rank && known.axis < rank;
        else if constexpr (std::is_same_v<T, AffineIndex>)
          return known.coefficients.size() == rank;
        else if constexpr (std::is_same_v<T, MaskValue>)
          return known.isUniform() ||
                 (known.keyAxis < int(rank) && known.queryAxis < int(rank));
        else if constexpr (std::is_same_v<T, PositionTable>)
          return known.positionAxis < rank && known.columnAxis < rank;
        else if constexpr (std::is_same_v<T, Square> ||
                           std::is_same_v<T, Centered> ||
                           std::is_same_v<T, RowStat> ||
                           std::is_same_v<T, Normalized>)
          return known.x.axes.size() == rank;
        else
          return true;
      },
      value);
}

/// What the value is taken for, for the debug log.
[[maybe_unused]] static StringRef kindOf(const Abstract &value) {
  static constexpr StringRef names[] = {
      "unknown", "absent",         "known elements", "rows",        "token ids",
      "a cache", "an index",       "a mask",         "a weight",    "a table",
      "a mix",   "a square",       "centered rows",  "a statistic", "a norm",
      "scores",  "an index tuple", "a flag"};
  static_assert(std::size(names) == std::variant_size_v<Abstract>);
  return names[value.index()];
}

void Raiser::visit(NodeOp node) {
  if (node.getNumResults() == 0)
    return;
  loc = node.getLoc();
  builder.setInsertionPointToEnd(&model.getBody().front());
  std::vector<Abstract> results(node.getNumResults());
  apply(node, results);
  for (auto [value, result] : llvm::zip(node.getResults(), results)) {
    if (!fitsRank(result, shapes.rank(value)))
      result = fail("the rank of its result does not follow from its operands");
    if (std::holds_alternative<Unknown>(result) && shapes.of(value).elements)
      result = Known{};
    LDBG() << "node '" << nameOf(node) << "' (" << node.getOpType() << ") is "
           << kindOf(result);
    values[value] = std::move(result);
  }
}

/// Names each node where something starts not to be understood, in graph order.
void Raiser::reportUnknowns(ArrayRef<Value> roots) {
  llvm::SetVector<Value> work(roots.begin(), roots.end());
  llvm::SetVector<Operation *> guilty;
  unsigned count = 0;
  for (size_t at = 0; at < work.size(); ++at) {
    auto *unknown = std::get_if<Unknown>(&get(work[at]));
    if (!unknown)
      continue;
    if (auto argument = dyn_cast<BlockArgument>(work[at])) {
      emitRemark(argument.getLoc()) << "not raised: " << unknown->reason;
      ++count;
      continue;
    }
    Operation *op = work[at].getDefiningOp();
    if (unknown->root)
      guilty.insert(op);
    else
      for (OpOperand &operand : op->getOpOperands())
        // An exit reads its score and `enabled` itself.
        if (auto node = dyn_cast<NodeOp>(op);
            !node || node.getOpType() != "Exit" ||
            operand.getOperandNumber() == 0 ||
            operand.getOperandNumber() == 1 || operand.getOperandNumber() == 3)
          work.insert(operand.get());
  }
  SmallVector<Operation *> ordered(guilty.begin(), guilty.end());
  llvm::sort(ordered,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  for (Operation *op : ordered) {
    auto node = dyn_cast<NodeOp>(op);
    std::string reason;
    for (Value result : op->getResults())
      if (auto *unknown = std::get_if<Unknown>(&get(result));
          unknown && unknown->root)
        reason = reason.empty() ? unknown->reason : reason;
    InFlightDiagnostic remark = emitRemark(op->getLoc()) << "not raised: ";
    if (node)
      remark << "node '" << nameOf(node) << "' (" << node.getOpType()
             << ", opset " << node.getOpset() << "): ";
    remark << reason;
    ++count;
  }
  emitError(function.getLoc(), "cannot be raised to rows: ")
      << count << " place" << (count == 1 ? "" : "s")
      << " not understood, see the remarks";
}

void Raiser::discard() {
  if (model)
    model->erase();
  for (Operation *op : llvm::reverse(created))
    op->erase();
}

std::string Raiser::outputName(unsigned index) {
  auto name = function.getResultAttrOfType<StringAttr>(index, "onnx.name");
  return name ? name.getValue().str() : std::string();
}

bool Raiser::isCache(Value output) const {
  auto *view = std::get_if<RowsView>(&get(output));
  return view && (view->past || appended.contains(view->rows));
}

/// The output that is sampled: by name, else the only one that is no part of
/// the KV cache. Of several the graph does not say it.
std::optional<unsigned> Raiser::findLogits() {
  auto terminator = function.getBody().front().getTerminator();
  SmallVector<unsigned> others;
  for (auto [i, output] : llvm::enumerate(terminator->getOperands())) {
    if (outputName(i) == "logits")
      return i;
    if (!isCache(output))
      others.push_back(i);
  }
  if (others.empty()) {
    emitError(function.getLoc(),
              "cannot be raised: it has no output of logits");
    return std::nullopt;
  }
  // What is not understood is reported first: it may be a part of the cache.
  bool isUnknown = std::holds_alternative<Unknown>(
      get(terminator->getOperand(others.front())));
  if (others.size() == 1 || isUnknown)
    return others.front();
  std::string names;
  for (unsigned i : others)
    names += (names.empty() ? "'" : ", '") + outputName(i) + "'";
  emitError(function.getLoc(), "cannot be raised: of its outputs ")
      << names << " none is named 'logits', so nothing says which is sampled";
  return std::nullopt;
}

/// A decoder has one output. A file that promises more gets a word.
void Raiser::reportDropped(unsigned logits) {
  auto terminator = function.getBody().front().getTerminator();
  for (auto [i, output] : llvm::enumerate(terminator->getOperands())) {
    if (i == logits || isCache(output) || isa<BlockArgument>(output))
      continue;
    bool isUnknown = std::holds_alternative<Unknown>(get(output));
    emitWarning(function.getLoc(), "output '")
        << outputName(i)
        << (isUnknown ? "' is not understood" : "' is not part of generation")
        << ": dropped; --kind=function keeps it";
  }
}

LogicalResult Raiser::finish() {
  auto logits = findLogits();
  if (!logits)
    return failure();
  Value output =
      function.getBody().front().getTerminator()->getOperand(*logits);
  if (std::holds_alternative<Unknown>(get(output))) {
    reportUnknowns(output);
    return failure();
  }
  builder.setInsertionPointToEnd(&model.getBody().front());
  auto view = rows(get(output));
  Value result = view ? plainRows(*view) : Value();
  if (!result ||
      !hasRole(view->axes.size() == 3 ? view->axes[1] : Axis(), Factor::Row))
    return emitError(function.getLoc(), "cannot be raised: output '")
           << outputName(*logits)
           << "' is not logits [batch, sequence, vocabulary]";
  reportDropped(*logits);
  YieldOp::create(builder, function.getLoc(), result);
  return finishExits();
}

static WeightRef constantRef(onnx_carrier::ConstantOp op) {
  auto name = dyn_cast<NameLoc>(op.getLoc());
  return {{},
          dyn_cast<DenseElementsAttr>(op.getValue()),
          false,
          name ? name.getName() : StringAttr()};
}

LogicalResult Raiser::run() {
  if (!function.getBody().hasOneBlock())
    return emitError(function.getLoc(),
                     "cannot be raised: it is not one graph");
  if (failed(bindArguments()))
    return failure();
  builder.setInsertionPoint(function);
  model = ModelOp::create(
      builder, function.getLoc(), function.getSymName(), maxPosition,
      inputs.empty() ? ArrayAttr() : builder.getArrayAttr(inputs));
  Block &body = model.getBody().emplaceBlock();
  body.addArgument(
      RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type()),
      function.getArgument(*idsArgument).getLoc());
  for (Operation &op : function.getBody().front()) {
    if (auto node = dyn_cast<NodeOp>(op))
      visit(node);
    else if (auto use = dyn_cast<UseOp>(op))
      values[use] =
          WeightRef{symbols.lookup<WeightOp>(use.getWeight()), {}, false};
    else if (auto constant = dyn_cast<onnx_carrier::ConstantOp>(op))
      values[constant] = constantRef(constant);
    else if (isa<onnx_carrier::NoneOp>(op))
      values[op.getResult(0)] = Absent{};
  }
  if (failed(finish())) {
    discard();
    return failure();
  }
  eraseDeadOps(body, isOpTriviallyDead);
  if (tableLimit)
    model.setMaxPosition(hasComputedTable ? std::min(*tableLimit, maxPosition)
                                          : *tableLimit);
  if (isDefaultPosition && (hasComputedTable || !tableLimit))
    emitRemark(model.getLoc(), "sequences may have ")
        << model.getMaxPosition()
        << " positions: neither a stored rotary table nor max-position says "
           "how many";
  function->erase();
  eraseUnusedWeights();
  return success();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Exit points: nodes of domain ai.adaptive. The score of an exit is computed by
// ordinary nodes; which criterion they are is read off them, and the node's tag
// must agree.

#include "Raiser.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/SetVector.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

namespace {
/// Matches the node patterns of criteria; every function gives null for a
/// mismatch.
class Matcher {
public:
  explicit Matcher(const SymbolicShapes &shapes) : shapes(shapes) {}

  NodeOp node(Value value, StringRef name, size_t inputs) const {
    auto op = value ? value.getDefiningOp<NodeOp>() : NodeOp();
    return op && op.is(name) && op.getInputs().size() >= inputs &&
                   op.getResult(0) == value
               ? op
               : NodeOp();
  }
  Value unary(Value value, StringRef name) const {
    NodeOp op = node(value, name, 1);
    return op ? op.getInputs()[0] : Value();
  }
  std::pair<Value, Value> binary(Value value, StringRef name) const {
    NodeOp op = node(value, name, 2);
    return op ? std::pair(op.getInputs()[0], op.getInputs()[1])
              : std::pair<Value, Value>();
  }
  /// x of x + number, in either order.
  Value plus(Value value, double number) const {
    auto [a, b] = binary(value, "Add");
    return isNumber(b, number) ? a : isNumber(a, number) ? b : Value();
  }
  /// x of the sum of squares of x over the last dimension, in any spelling.
  Value sumOfSquares(Value value) const {
    if (Value x = reduced(value, "ReduceSumSquare", false))
      return x;
    Value square = reduced(value, "ReduceSum", false);
    auto [x, power] = binary(square, "Pow");
    if (x && isNumber(power, 2))
      return x;
    auto [a, b] = binary(square, "Mul");
    return a == b ? a : Value();
  }
  bool isNumber(Value value, double number, double tolerance = 0) const {
    auto scalar = value ? shapes.scalar(value) : std::nullopt;
    auto known = scalar ? scalar->number() : std::nullopt;
    return known && std::fabs(*known - number) <= tolerance;
  }
  /// Operand of a reduction over the last dimension.
  Value reduced(Value value, StringRef name, bool keep) const {
    NodeOp op = node(value, name, 1);
    if (!op || (intAttr(op, "keepdims", 1) != 0) != keep)
      return {};
    auto axes = shapes.intsOf(op, 1, "axes");
    size_t rank = shapes.rank(op.getInputs()[0]);
    bool last =
        axes && axes->size() == 1 && normalAxis((*axes)[0], rank) == rank - 1;
    return last ? op.getInputs()[0] : Value();
  }
  /// e = exp(d) with d = z - max(z): gives (z, d).
  std::pair<Value, Value> exponentials(Value e) const {
    Value d = unary(e, "Exp");
    auto [z, m] = binary(d, "Sub");
    return z && reduced(m, "ReduceMax", true) == z ? std::pair(z, d)
                                                   : std::pair<Value, Value>();
  }
  Value rest(Value value) const;
  Value maxProb(Value value) const;
  Value margin(Value value) const;
  Value entropy(Value value) const;
  std::pair<Value, Value> cosine(Value value) const;

private:
  Value topGap(Value value) const;
  Value logOfSum(Value value) const;
  const SymbolicShapes &shapes;
};
} // namespace

/// Sum of exp(z - max) over all entries but one maximum.
Value Matcher::rest(Value value) const {
  auto [others, ties] = binary(value, "Add");
  Value where = reduced(others, "ReduceSum", false);
  NodeOp select = node(where, "Where", 3);
  auto [count, one] = binary(ties, "Sub");
  if (!select || !isNumber(select.getInputs()[1], 0) || !isNumber(one, 1))
    return {};
  Value top = select.getInputs()[0];
  if (unary(reduced(count, "ReduceSum", false), "Cast") != top)
    return {};
  auto [z, d] = exponentials(select.getInputs()[2]);
  auto [left, right] = binary(top, "Equal");
  auto [unused, max] = binary(d, "Sub");
  return z && left == z && right == max ? z : Value();
}

Value Matcher::maxProb(Value value) const {
  return rest(unary(unary(value, "Neg"), "Log"));
}

/// exp(z2 - z1) of the two largest entries; gives z.
Value Matcher::topGap(Value value) const {
  auto squeeze = node(value, "Squeeze", 1);
  auto [second, first] =
      binary(unary(squeeze ? squeeze.getInputs()[0] : Value(), "Exp"), "Sub");
  auto entry = [&](Value slice, int64_t at) -> Value {
    NodeOp op = node(slice, "Slice", 3);
    if (!op)
      return {};
    auto starts = shapes.intsOf(op, 1, "starts"),
         ends = shapes.intsOf(op, 2, "ends");
    bool fits = starts && ends && *starts == ArrayRef<int64_t>(at) &&
                *ends == ArrayRef<int64_t>(at + 1);
    return fits ? op.getInputs()[0] : Value();
  };
  Value top = entry(first, 0);
  NodeOp topK = node(top, "TopK", 2);
  if (!topK || entry(second, 1) != top || !isNumber(topK.getInputs()[1], 2) ||
      !intAttr(topK, "largest", 1) || !intAttr(topK, "sorted", 1))
    return {};
  size_t rank = shapes.rank(topK.getInputs()[0]);
  return normalAxis(intAttr(topK, "axis", -1), rank) == rank - 1
             ? topK.getInputs()[0]
             : Value();
}

Value Matcher::margin(Value value) const {
  auto [logWon, logLost] = binary(value, "Sub");
  auto [one, gap] = binary(unary(logWon, "Log"), "Sub");
  auto [remaining, again] = binary(unary(logLost, "Log"), "Add");
  Value z = rest(remaining);
  return z && isNumber(one, 1) && gap == again && topGap(gap) == z ? z
                                                                   : Value();
}

/// log(1 + rest), written as softplus(log(rest)) or plainly; gives `rest`.
Value Matcher::logOfSum(Value value) const {
  if (Value rest = unary(unary(value, "Softplus"), "Log"))
    return rest;
  return plus(unary(value, "Log"), 1);
}

Value Matcher::entropy(Value value) const {
  auto [logFree, logH] = binary(value, "Sub");
  Value h = unary(logH, "Log");
  auto [most, again] = binary(unary(unary(logFree, "Log"), "Relu"), "Sub");
  auto [logSum, mean] = binary(h, "Sub");
  Value remaining = logOfSum(logSum);
  auto [weighted, sum] = binary(mean, "Div");
  auto [d, e] = binary(reduced(weighted, "ReduceSum", false), "Mul");
  auto [z, dAgain] = exponentials(e);
  if (!z || again != h || dAgain != d || rest(remaining) != z ||
      plus(sum, 1) != remaining)
    return {};
  auto vocabulary = shapes.shape(z).back().constant();
  return vocabulary && isNumber(most, std::log(double(*vocabulary)), 1e-5)
             ? z
             : Value();
}

std::pair<Value, Value> Matcher::cosine(Value value) const {
  auto [logSum, logDifference] = binary(value, "Sub");
  auto [a, b] = binary(sumOfSquares(unary(logSum, "Log")), "Add");
  auto [c, d] = binary(sumOfSquares(unary(logDifference, "Log")), "Sub");
  if (!a || !((a == c && b == d) || (a == d && b == c)))
    return {};
  auto direction = [&](Value unit) -> Value {
    auto [x, length] = binary(unit, "Div");
    return x && reduced(length, "ReduceL2", true) == x ? x : Value();
  };
  return {direction(a), direction(b)};
}

/// If `rows` are one column x . w + b computed by a linear op, its parts.
static bool readProbe(Value rows, Value &x, Value &w, double &b) {
  b = 0;
  if (auto map = rows.getDefiningOp<MapOp>()) {
    Block &body = map.getBody().front();
    auto yield = cast<YieldOp>(body.getTerminator());
    auto add = yield.getValues()[0].getDefiningOp<arith::AddFOp>();
    if (!add || map.getInputs().size() != 1)
      return false;
    Value constant =
        add.getLhs() == body.getArgument(0) ? add.getRhs() : add.getLhs();
    auto op = constant.getDefiningOp<arith::ConstantOp>();
    auto number = op ? dyn_cast<FloatAttr>(op.getValue()) : FloatAttr();
    if (!number || (add.getLhs() != body.getArgument(0) &&
                    add.getRhs() != body.getArgument(0)))
      return false;
    b = number.getValueAsDouble();
    rows = map.getInputs()[0];
  }
  auto linear = rows.getDefiningOp<LinearOp>();
  if (!linear || linear.getWeights().size() != 1 ||
      !linear.getEpilogue().empty() ||
      cast<RankedTensorType>(rows.getType()).getDimSize(1) != 1)
    return false;
  x = linear.getInput();
  w = linear.getWeights()[0];
  return true;
}

Value Raiser::score(Value value, Criterion &criterion, std::string &reason) {
  Matcher match(shapes);
  auto type =
      RankedTensorType::get({ShapedType::kDynamic}, builder.getF32Type());
  struct OnLogits {
    Criterion criterion;
    Value logits;
  };
  for (const OnLogits &candidate :
       {OnLogits{Criterion::MaxProb, match.maxProb(value)},
        OnLogits{Criterion::Margin, match.margin(value)},
        OnLogits{Criterion::Entropy, match.entropy(value)}}) {
    auto view = candidate.logits ? rows(get(candidate.logits)) : std::nullopt;
    Value logits = view ? plainRows(*view) : Value();
    if (!logits)
      continue;
    criterion = candidate.criterion;
    return CriteriaOp::create(builder, loc, type, criterion, logits);
  }
  if (auto [state, previous] = match.cosine(value); state && previous) {
    auto a = rows(get(previous)), b = rows(get(state));
    Value before = a ? plainRows(*a) : Value(),
          after = b ? plainRows(*b) : Value();
    if (before && after && before.getType() == after.getType()) {
      criterion = Criterion::Cosine;
      return CosineOp::create(builder, loc, type, before, after);
    }
  }
  // A probe: one column of a product, however its dimension was dropped.
  auto view = rows(get(value));
  Value x, w, column = view ? plainRows(*view) : Value();
  double bias;
  if (column && readProbe(column, x, w, bias)) {
    criterion = Criterion::Probe;
    auto biasType = RankedTensorType::get({1}, builder.getF32Type());
    Value b = useConstant(DenseElementsAttr::get(biasType, float(bias)),
                          builder.getStringAttr("probe_bias"));
    return ProbeOp::create(builder, loc, type, x, w, b);
  }
  if (isa<BlockArgument>(value))
    reason = "its score is an input of the graph: such files are oracles, not "
             "models";
  else
    reason = "its score is none of max_prob, margin, entropy, cosine and a "
             "linear probe";
  return {};
}

int64_t Raiser::depthOf(Value value) const {
  int64_t depth = 0;
  SmallVector<Value> work = {value};
  llvm::SmallPtrSet<Operation *, 32> seen;
  while (!work.empty()) {
    Operation *op = work.pop_back_val().getDefiningOp();
    if (!op || !seen.insert(op).second)
      continue;
    depth += isa<AttendOp>(op);
    llvm::append_range(work, op->getOperands());
  }
  return depth;
}

Abstract Raiser::exitPoint(NodeOp node) {
  if (node.getInputs().size() != 5)
    return fail("it takes exit_value, rest_value, score, hidden and enabled");
  auto exitView = rows(input(node, 0)), restView = rows(input(node, 1)),
       stateView = rows(input(node, 3));
  Value exitRows = exitView ? plainRows(*exitView) : Value();
  Value restRows = restView ? plainRows(*restView) : Value();
  Value state = stateView ? plainRows(*stateView) : Value();
  if (!exitRows || !restRows || !state)
    return failUnlessBlamed(
        node, "its values or its hidden state are no view of rows");
  if (exitRows.getType() != restRows.getType() ||
      exitView->axes != restView->axes)
    return fail("exit_value and rest_value differ in shape");
  auto enabled = asMask(node.getInputs()[4]);
  if (!inputAs<RowFlag>(node, 4) &&
      !(enabled && enabled->isUniform() && enabled->values[0] == 1))
    return fail("`enabled` must be an input of the graph or true");
  Criterion criterion;
  std::string reason;
  Value rowScore = score(node.getInputs()[2], criterion, reason);
  if (!rowScore)
    return fail(reason);
  StringRef tag = stringAttr(node, "criterion");
  if (!tag.empty() && tag != stringifyCriterion(criterion))
    return fail("its tag says criterion '" + tag +
                "', but its score is computed as '" +
                stringifyCriterion(criterion) + "'");
  double threshold = floatAttr(node, "threshold", NAN);
  if (std::isnan(threshold))
    return fail("its threshold is missing or no number");
  // What a leaving row needs must be there once its state is.
  int64_t depth = depthOf(state);
  if (depthOf(exitRows) > depth || depthOf(rowScore) > depth)
    return fail("exit_value or score needs layers behind the hidden state");
  StringRef name = stringAttr(node, "name");
  auto op = ExitOp::create(
      builder, loc, restRows.getType(), exitRows, restRows, rowScore, state,
      uint64_t(0), uint64_t(depth), llvm::APFloat(threshold), criterion,
      KVFill::Exact, name.empty() ? "e" + std::to_string(depth) : name.str());
  exits.push_back({node, op});
  return RowsView{op.getResult(), restView->axes, 1, std::nullopt};
}

Abstract Raiser::keep(NodeOp node) {
  if (node.getInputs().size() != 3)
    return fail("it takes active, h and f_h");
  auto before = rows(input(node, 1)), after = rows(input(node, 2));
  Value from = before ? plainRows(*before) : Value(),
        to = after ? plainRows(*after) : Value();
  if (!from || !to || from.getType() != to.getType())
    return failUnlessBlamed(node, "its states are no view of rows");
  if (depthOf(to) != depthOf(from) + 1)
    return fail("f_h must be h after one layer");
  keeps.push_back({node, depthOf(from)});
  return *after;
}

/// The values joined by And nodes under `value`, each once.
static SmallVector<Value> conjuncts(Value value, const Matcher &match) {
  llvm::SetVector<Value> work;
  work.insert(value);
  SmallVector<Value> result;
  for (size_t at = 0; at < work.size(); ++at) {
    auto [a, b] = match.binary(work[at], "And");
    if (!a) {
      result.push_back(work[at]);
      continue;
    }
    work.insert(a);
    work.insert(b);
  }
  return result;
}

/// The exit `value` says a row has not taken: Not(And(enabled, score >=
/// threshold)).
static NodeOp exitNotTaken(Value value, const Matcher &match,
                           ArrayRef<NodeOp> exits) {
  auto [left, right] = match.binary(match.unary(value, "Not"), "And");
  for (NodeOp exit : exits)
    for (auto [enabled, sure] :
         {std::pair(left, right), std::pair(right, left)}) {
      auto [score, threshold] = match.binary(sure, "GreaterOrEqual");
      if (score && enabled == exit.getInputs()[4] &&
          score == exit.getInputs()[2] &&
          match.isNumber(threshold, floatAttr(exit, "threshold", NAN)))
        return exit;
    }
  return {};
}

/// Numbers the exits by depth and reads from the `Keep` nodes what becomes of
/// the KV of skipped layers.
LogicalResult Raiser::finishExits() {
  llvm::stable_sort(exits, [](ExitRecord a, ExitRecord b) {
    return a.op.getDepth() < b.op.getDepth();
  });
  if (exits.size() > 32)
    return emitError(function.getLoc(), "cannot be raised: it has ")
           << exits.size() << " exits, at most 32 are supported";
  for (auto [index, exit] : llvm::enumerate(exits))
    exit.op.setIndex(index);
  if (keeps.empty())
    return success();
  Matcher match(shapes);
  SmallVector<NodeOp> nodes;
  for (ExitRecord &exit : exits)
    nodes.push_back(exit.node);
  int64_t layers = 0;
  for (Operation &op : model.getBody().front())
    layers += isa<AttendOp>(op);
  llvm::SmallDenseSet<int64_t> kept;
  for (KeepRecord &keep : keeps) {
    kept.insert(keep.layer);
    SmallVector<Value> parts = conjuncts(keep.node.getInputs()[0], match);
    llvm::SmallPtrSet<Operation *, 4> frozenBy;
    for (Value part : parts) {
      NodeOp exit = exitNotTaken(part, match, nodes);
      if (!exit)
        return emitError(keep.node.getLoc())
               << "cannot be raised: Keep node '" << nameOf(keep.node)
               << "': `active` must be that no exit so far was taken";
      frozenBy.insert(exit);
    }
    for (ExitRecord &exit : exits)
      if ((int64_t(exit.op.getDepth()) <= keep.layer) !=
          frozenBy.contains(exit.node))
        return emitError(keep.node.getLoc())
               << "cannot be raised: Keep node '" << nameOf(keep.node)
               << "': `active` must name every exit before this layer and no "
                  "other, but exit '"
               << exit.op.getName() << "' is not treated so";
  }
  for (int64_t layer = exits.empty() ? layers
                                     : int64_t(exits.front().op.getDepth());
       layer < layers; ++layer)
    if (!kept.contains(layer))
      return emitError(function.getLoc(), "cannot be raised: layer ")
             << layer
             << " has no Keep, though a layer before it has; rows that left "
                "must be "
                "kept by all layers behind their exit or by none";
  for (ExitRecord &exit : exits)
    exit.op.setFill(KVFill::Propagate);
  return success();
}

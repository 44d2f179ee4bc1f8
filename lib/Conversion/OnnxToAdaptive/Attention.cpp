// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention: as one operator, and as products around a softmax. Either becomes
// an append to the KV of the layer and an `attend`; it must be causal.

#include "Raiser.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

/// A number that stands for minus infinity. A lesser one, like the -10000 of
/// old exporters, hides later positions only while all scores stay well above
/// it, which no graph says. Beside this one a score must be as large as f32 can
/// hold: half of the least number is left to formats that round it.
static constexpr double kHides = -0.5 * std::numeric_limits<float>::max();
/// What it must still be in units of the softmax, so that its exponential is 0
/// wherever scores are in reach of it.
static constexpr double kHidesScaled = -1e4;

static bool hides(double value) { return value <= kHides; }

static std::string weakMask(double value) {
  std::string text;
  llvm::raw_string_ostream(text)
      << "its mask is finite: " << llvm::format("%g", value)
      << " need not hide the positions after the query, as minus infinity or "
         "the least f32 does";
  return text;
}

/// Applies an additive mask, or one that `replaces` the scores it hides; the
/// text says why it cannot be.
std::optional<std::string> Raiser::applyMask(Scores &scores,
                                             const MaskValue &mask, size_t rank,
                                             bool replaces) const {
  if (scores.stage != Scores::Raw)
    return "masks probabilities";
  if (mask.isUniform())
    return mask.values[0] == 0
               ? std::nullopt
               : std::optional<std::string>("adds a number to all scores");
  if (mask.queryAxis != int(rank) - 2 || mask.keyAxis != int(rank) - 1)
    return "its mask does not lie over queries and keys";
  // Without a past no distance falls in the middle.
  bool middleFree = past.isConstant(0) || mask.values[1] == 0;
  if (mask.values[0] != 0 || !middleFree)
    return "its mask is not proven causal: it hides or shifts positions up to "
           "the query";
  double hiding = mask.values[2] + (replaces ? 0 : scores.hiding);
  if (!(hiding < 0))
    return "its mask is not proven causal: it shows positions after the query";
  if (!hides(hiding))
    return weakMask(hiding);
  scores.causal = true;
  scores.hiding = hiding;
  return std::nullopt;
}

/// A mask of truth values (1: visible) as numbers to add.
static MaskValue
additive(MaskValue mask,
         double hidden = -std::numeric_limits<double>::infinity()) {
  for (double &value : mask.values)
    value = value != 0 ? 0 : hidden;
  return mask;
}

std::optional<Abstract> Raiser::scoreArithmetic(NodeOp node) {
  StringRef name = node.getOpType();
  size_t rank = shapes.rank(node.getResult(0));
  std::optional<unsigned> side;
  for (unsigned i = 0; i < node.getInputs().size(); ++i)
    if (inputAs<Scores>(node, i))
      side = i;
  if (!side)
    return std::nullopt;
  Scores scores = *inputAs<Scores>(node, *side);
  if (name == "Identity" || name == "Cast" || name == "CastLike" ||
      name == "Dropout")
    return scores;
  if (name == "IsNaN" && scores.stage == Scores::Probabilities) {
    scores.stage = Scores::IsNaN;
    return scores;
  }
  auto region = [&](unsigned index) -> std::optional<MaskValue> {
    if (index >= node.getInputs().size())
      return std::nullopt;
    auto result = asMask(node.getInputs()[index]);
    int shift = int(rank) - int(shapes.rank(node.getInputs()[index]));
    if (result && !result->isUniform()) {
      result->queryAxis += shift;
      result->keyAxis += shift;
    }
    return result;
  };
  auto masked = [&](const MaskValue &mask, bool replaces) -> Abstract {
    if (auto reason = applyMask(scores, mask, rank, replaces))
      return fail(*reason);
    return scores;
  };
  if (name == "Where" && node.getInputs().size() == 3) {
    // The guard for rows without a visible key: a causal row always sees
    // itself.
    auto *isNaN = inputAs<Scores>(node, 0);
    auto zero = region(1);
    if (isNaN && isNaN->stage == Scores::IsNaN && zero && zero->isUniform() &&
        zero->values[0] == 0 && *side == 2)
      return scores;
    auto condition = region(0), fill = region(*side == 2 ? 1 : 2);
    if (condition && fill && fill->isUniform() && fill->values[0] < 0 &&
        *side != 0) {
      if (*side == 2) // where(hidden, -inf, scores)
        for (double &value : condition->values)
          value = value == 0;
      return masked(additive(*condition, fill->values[0]), true);
    }
    return failUnlessBlamed(
        node, "selects between scores and something that is no mask");
  }
  if (node.getInputs().size() == 2) {
    auto other = region(1 - *side);
    if (!other)
      return failUnlessBlamed(
          node, "combines attention scores with a mask that is not proven "
                "causal");
    if (other->isUniform() && scores.stage == Scores::Raw &&
        (name == "Mul" || (name == "Div" && *side == 0))) {
      double factor = name == "Mul" ? other->values[0] : 1 / other->values[0];
      scores.scale *= factor;
      scores.hiding *= factor;
      return scores;
    }
    if (name == "Add")
      return masked(*other, false);
  }
  return failUnlessBlamed(node,
                          "no rule for this operator on attention scores");
}

Abstract Raiser::softmax(NodeOp node) {
  auto *scores = inputAs<Scores>(node, 0);
  size_t rank = shapes.rank(node.getResult(0));
  if (!scores || scores->stage != Scores::Raw)
    return failUnlessBlamed(node,
                            "softmax of values that are no attention scores");
  if (normalAxis(intAttr(node, "axis", -1), rank) != rank - 1)
    return fail("softmax does not run over the keys");
  if (!scores->causal)
    return fail(
        "attention is not causal: no mask hides the positions after the query");
  if (!(scores->hiding <= kHidesScaled))
    return fail(weakMask(scores->hiding));
  Scores result = *scores;
  result.stage = Scores::Probabilities;
  return result;
}

namespace {
/// How the heads of a view lie in its rows.
struct Heads {
  int64_t kvHeads = 1, repeats = 1;
};
} // namespace

/// Feature factors of all axes but the last two, where an axis of size 1 stands
/// for as many repetitions as `like` has there.
static Axis headFactors(const Axes &axes, const Axes *like) {
  Axis result;
  for (size_t i = 0; i + 2 < axes.size(); ++i) {
    for (const Factor &factor : axes[i])
      if (factor.role == Factor::Feature)
        result.push_back(factor);
    if (like && axes[i].empty() && i < like->size())
      for (const Factor &factor : (*like)[i])
        if (factor.role == Factor::Feature)
          result.push_back({Factor::Feature, factor.size, 0});
  }
  return result;
}

/// Heads stored `headDim` apart, each then repeated for a group of query heads.
static std::optional<Heads> readHeads(const Axis &factors, int64_t headDim) {
  Heads result;
  Axis stored;
  for (const Factor &factor : factors) {
    auto size = factor.size.constant();
    if (!size || *size == 1) {
      if (!size)
        return std::nullopt;
      continue;
    }
    if (factor.stride == 0) {
      result.repeats *= *size;
      continue;
    }
    if (result.repeats != 1)
      return std::nullopt; // repeated as a whole, not head by head
    stored.push_back(factor);
    result.kvHeads *= *size;
  }
  int64_t stride = headDim;
  for (const Factor &factor : llvm::reverse(stored)) {
    if (factor.stride != stride)
      return std::nullopt;
    stride *= *factor.size.constant();
  }
  return result;
}

Abstract Raiser::attend(const Scores &scores, const RowsView &value,
                        const Axes &resultAxes) {
  const RowsView &query = scores.query, &key = scores.key;
  size_t rank = query.axes.size();
  auto headDim = contiguousWidth(query.axes[rank - 1]);
  int64_t width = cast<RankedTensorType>(query.rows.getType()).getDimSize(1);
  int64_t kvWidth = cast<RankedTensorType>(key.rows.getType()).getDimSize(1);
  if (!headDim || key.axes.size() != rank || value.axes.size() != rank ||
      contiguousWidth(key.axes[rank - 1]) != *headDim ||
      contiguousWidth(value.axes[rank - 1]) != *headDim)
    return fail("heads of query, key and value differ in size");
  auto onRows = [&](const RowsView &view) {
    return view.axes[rank - 2].size() == 1 &&
           view.axes[rank - 2][0].role == Factor::Row;
  };
  if (!onRows(query) || !onRows(key) || !onRows(value))
    return fail("attention does not run over the sequence");
  Axes whole = query.axes;
  if (!isWholeRow(whole, width))
    return fail("query heads do not lie side by side in a row");
  auto keyHeads = readHeads(headFactors(key.axes, &query.axes), *headDim);
  auto valueHeads = readHeads(headFactors(value.axes, &query.axes), *headDim);
  if (!keyHeads || !valueHeads || keyHeads->kvHeads != valueHeads->kvHeads ||
      keyHeads->kvHeads * keyHeads->repeats * *headDim != width ||
      keyHeads->kvHeads * *headDim != kvWidth ||
      value.rows.getType() != key.rows.getType())
    return fail("key and value heads do not lie side by side in a row, or are "
                "not repeated head "
                "by head");
  bool cached = key.past.has_value();
  if (cached != value.past.has_value() || cached == past.isConstant(0))
    return fail(
        cached ? "only one of key and value comes from a cache"
               : "attention leaves out the KV cache that other layers have");
  double scale = scores.scale * query.scale * key.scale;
  if (!(scale > 0) || std::isinf(scale))
    return fail("the scale of the scores must be positive and finite");
  if (appended.contains(key.rows) || appended.contains(value.rows))
    return fail("keys and values are shared with another attention");
  // The cache holds what the file's KV outputs hold; scales belong to the
  // scores.
  RowsView plainValue = value;
  plainValue.past.reset();
  Value values = plainRows(plainValue), queryRows = query.rows;
  auto type = KVType::get(builder.getContext(), keyHeads->kvHeads, *headDim);
  Value kv = KVAppendOp::create(builder, loc, type, key.rows, values);
  appended[key.rows] = kv;
  appended[values] = kv;
  Value result = AttendOp::create(builder, loc, queryRows.getType(), queryRows,
                                  kv, keyHeads->kvHeads * keyHeads->repeats,
                                  llvm::APFloat(scale));
  return RowsView{result, resultAxes, 1, std::nullopt};
}

/// Dimensions (batch, heads, rows, head elements) of an attention result.
static Axes attentionAxes(const SymExpr &batch, const SymExpr &sequence,
                          int64_t heads, int64_t headDim) {
  Axes axes(4);
  if (!batch.isConstant(1))
    axes[0].push_back({Factor::Batch, batch, 0});
  if (heads != 1)
    axes[1].push_back({Factor::Feature, SymExpr(heads), headDim});
  axes[2].push_back({Factor::Row, sequence, 0});
  if (headDim != 1)
    axes[3].push_back({Factor::Feature, SymExpr(headDim), 1});
  return axes;
}

std::optional<Abstract> Raiser::attentionMatmul(NodeOp node) {
  const Shape &shape = shapes.shape(node.getResult(0));
  if (auto *scores = inputAs<Scores>(node, 0)) {
    auto value = rows(input(node, 1));
    if (!value || scores->stage != Scores::Probabilities)
      return failUnlessBlamed(
          node, "multiplies attention scores with something else than values");
    auto headDim = contiguousWidth(scores->query.axes.back());
    int64_t width =
        cast<RankedTensorType>(scores->query.rows.getType()).getDimSize(1);
    if (!headDim || width % *headDim)
      return fail("query heads do not lie side by side in a row");
    auto axes =
        reshapeAxes(attentionAxes(batch, sequence, width / *headDim, *headDim),
                    shape, shapes.symbols);
    if (!axes)
      return fail("the result is not [batch, heads, sequence, head elements]");
    // Scores may have been reshaped since: bring the value to the query's
    // dimensions.
    if (value->axes.size() != scores->query.axes.size())
      return fail("values are laid out differently from queries");
    return attend(*scores, *value, *axes);
  }
  auto query = rows(input(node, 0)), key = rows(input(node, 1));
  if (!query || !key)
    return std::nullopt;
  size_t rank = key->axes.size();
  if (rank < 3 || query->axes.size() != rank ||
      !hasRole(key->axes[rank - 1], Factor::Row) ||
      !hasRole(query->axes[rank - 2], Factor::Row) || query->past)
    return fail("multiplies rows with rows, but not as queries with keys");
  std::swap(key->axes[rank - 1], key->axes[rank - 2]);
  return Scores{*query, *key, 1};
}

void Raiser::attention(NodeOp node, Results results) {
  auto give = [&](const Abstract &value) { results[0] = value; };
  if (node.getInputs().size() < 3)
    return give(fail("it takes query, key and value"));
  SmallVector<RowsView, 3> views;
  int64_t heads[] = {intAttr(node, "q_num_heads", 0),
                     intAttr(node, "kv_num_heads", 0),
                     intAttr(node, "kv_num_heads", 0)};
  bool isFlat = false;
  for (unsigned i = 0; i < 3; ++i) {
    auto view = rows(input(node, i));
    if (!view)
      return give(
          failUnlessBlamed(node, "query, key or value is no view of rows"));
    if (view->axes.size() == 3) {
      // (batch, sequence, heads * head elements) -> (batch, heads, sequence,
      // head elements)
      const Shape &shape = shapes.shape(node.getInputs()[i]);
      auto width = shape[2].constant();
      if (!width || heads[i] <= 0 || *width % heads[i])
        return give(
            fail("q_num_heads or kv_num_heads does not divide the row"));
      auto axes = reshapeAxes(
          view->axes,
          {shape[0], shape[1], SymExpr(heads[i]), SymExpr(*width / heads[i])},
          shapes.symbols);
      if (!axes)
        return give(fail("heads do not lie side by side in a row"));
      std::swap((*axes)[1], (*axes)[2]);
      view->axes = *axes;
      isFlat = true;
    }
    if (view->axes.size() != 4)
      return give(fail("query, key and value must have 3 or 4 dimensions"));
    views.push_back(*view);
  }
  for (unsigned i = 1; i < 3; ++i) {
    if (!hasInput(node, 3 + i))
      continue;
    auto *cache = inputAs<CacheInput>(node, 3 + i);
    if (!cache || views[i].past || views[i].axes[2].size() != 1)
      return give(failUnlessBlamed(
          node, "its past keys or values are no input of the graph"));
    views[i].past = cache->argument;
    views[i].axes[2][0].size = past + sequence;
  }
  if (floatAttr(node, "softcap", 0) != 0)
    return give(fail("softcap is not supported"));
  if (hasInput(node, 6))
    return give(fail("nonpad_kv_seqlen is not supported"));
  auto headDim = contiguousWidth(views[0].axes[3]);
  int64_t width = cast<RankedTensorType>(views[0].rows.getType()).getDimSize(1);
  if (!headDim || width % *headDim)
    return give(fail("query heads do not lie side by side in a row"));
  Scores scores{views[0], views[1],
                floatAttr(node, "scale", 1 / std::sqrt(double(*headDim)))};
  // Query heads share key heads in order: the key is repeated for each group.
  auto groups = [&](RowsView &view) {
    int64_t stored = cast<RankedTensorType>(view.rows.getType()).getDimSize(1);
    int64_t repeats = stored > 0 ? width / stored : 1;
    bool plain = readHeads(headFactors(view.axes, nullptr), *headDim)
                     .value_or(Heads())
                     .repeats == 1;
    if (plain && repeats > 1)
      view.axes[1].push_back({Factor::Feature, SymExpr(repeats), 0});
  };
  groups(scores.key);
  RowsView value = views[2];
  groups(value);
  // Before the mask, which need not hide what this hides.
  if (intAttr(node, "is_causal", 0)) {
    // The operator counts from the start of its own key operand.
    if (views[1].past && !hasInput(node, 4))
      return give(
          fail("is_causal with a cache that is not its past_key operand"));
    scores.causal = true;
    scores.hiding = -std::numeric_limits<double>::infinity();
  }
  if (hasInput(node, 3)) {
    auto mask = asMask(node.getInputs()[3]);
    if (!mask)
      return give(failUnlessBlamed(node, "its mask is not proven causal"));
    Value operand = node.getInputs()[3];
    bool isTruth = getElementTypeOrSelf(operand.getType()).isInteger(1);
    if (auto reason = applyMask(scores, isTruth ? additive(*mask) : *mask,
                                shapes.rank(operand), false))
      return give(fail(*reason));
  }
  if (!scores.causal)
    return give(fail("attention is not causal: no mask hides the positions "
                     "after the query"));
  Axes axes = attentionAxes(batch, sequence, width / *headDim, *headDim);
  if (isFlat) {
    std::swap(axes[1], axes[2]);
    auto flat =
        reshapeAxes(axes, {batch, sequence, SymExpr(width)}, shapes.symbols);
    if (!flat)
      return give(
          fail("the result is not [batch, sequence, heads * head elements]"));
    axes = *flat;
  }
  results[0] = attend(scores, value, axes);
  for (unsigned i = 1; i < 3 && i < results.size(); ++i)
    results[i] = views[i];
}

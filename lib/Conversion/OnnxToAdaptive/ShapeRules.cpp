// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Shapes of ONNX operators over symbolic sizes, and the elements of what shape
// arithmetic moves around.

#include "ShapeRules.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

#include <limits>

using namespace mlir;
using namespace adaptive::raising;

std::optional<SmallVector<int64_t>>
adaptive::raising::constantShape(const Shape &shape) {
  SmallVector<int64_t> result;
  for (const SymExpr &size : shape) {
    auto value = size.constant();
    if (!value || *value < 0)
      return std::nullopt;
    result.push_back(*value);
  }
  return result;
}

std::optional<size_t> adaptive::raising::numElements(const Shape &shape) {
  auto sizes = constantShape(shape);
  if (!sizes)
    return std::nullopt;
  uint64_t total = 1;
  for (uint64_t size : *sizes) {
    if (size != 0 && total > (uint64_t(1) << 31) / size)
      return std::nullopt;
    total *= size;
  }
  return total;
}

bool adaptive::raising::broadcastsTo(ArrayRef<int64_t> extents,
                                     ArrayRef<int64_t> sizes) {
  if (extents.size() > sizes.size())
    return false;
  return llvm::all_of(
      llvm::zip(extents, sizes.take_back(extents.size())), [](auto pair) {
        return std::get<0>(pair) == 1 || std::get<0>(pair) == std::get<1>(pair);
      });
}

size_t adaptive::raising::broadcastIndex(size_t at, ArrayRef<int64_t> sizes,
                                         ArrayRef<int64_t> extents) {
  size_t index = 0, stride = 1;
  for (size_t back = 1; back <= sizes.size(); ++back) {
    size_t size = sizes[sizes.size() - back], coordinate = at % size;
    at /= size;
    if (back <= extents.size()) {
      size_t extent = extents[extents.size() - back];
      index += (extent == 1 ? 0 : coordinate) * stride;
      stride *= extent;
    }
  }
  return index;
}

std::optional<SliceRange>
adaptive::raising::sliceRange(const SymExpr &start, const SymExpr &end,
                              int64_t step, const SymExpr &size,
                              const Symbols &symbols) {
  if (step < 1)
    return std::nullopt; // reversals do not occur in what is raised
  // A bound is counted from the end when negative and then clamped.
  auto bound = [&](SymExpr value) -> std::optional<SymExpr> {
    if (auto number = value.constant()) {
      if (*number >= std::numeric_limits<int32_t>::max())
        return size;
      if (*number <= std::numeric_limits<int32_t>::min())
        return SymExpr(0);
    }
    auto holds = [&](const SymExpr &difference) {
      return symbols.provablyNonNegative(difference);
    };
    if (holds(SymExpr(-1) - value)) {
      value = value + size;
      if (holds(SymExpr(0) - value))
        return SymExpr(0);
    } else if (!holds(value)) {
      return std::nullopt;
    }
    if (holds(value - size))
      return size;
    if (holds(size - value))
      return value;
    return std::nullopt;
  };
  auto from = bound(start), to = bound(end);
  if (!from || !to)
    return std::nullopt;
  SymExpr length = *to - *from;
  if (symbols.provablyNonNegative(SymExpr(0) - length))
    length = SymExpr(0);
  if (step != 1) {
    auto number = length.constant();
    if (!number)
      return std::nullopt;
    length = SymExpr((*number + step - 1) / step);
  }
  return SliceRange{*from, length, step};
}

std::optional<SmallVector<SliceRange>>
adaptive::raising::sliceRanges(const SymbolicShapes &shapes, NodeOp node) {
  const TensorInfo &data = shapes.of(node.getInputs()[0]);
  if (!data.ranked)
    return std::nullopt;
  SmallVector<SliceRange> ranges;
  for (const SymExpr &size : data.shape)
    ranges.push_back({SymExpr(0), size, 1});
  auto bounds = [&](unsigned index,
                    StringRef name) -> std::optional<SmallVector<SymExpr>> {
    SmallVector<SymExpr> result;
    if (hasInput(node, index)) {
      const TensorInfo &info = shapes.of(node.getInputs()[index]);
      if (!info.elements)
        return std::nullopt;
      for (const Scalar &element : *info.elements)
        result.push_back(shapes.symbols.normalize(element.integer));
      return result;
    }
    auto values = findInts(node, name);
    if (!values)
      return std::nullopt;
    result.append(values->begin(), values->end());
    return result;
  };
  auto starts = bounds(1, "starts"), ends = bounds(2, "ends");
  if (!starts || !ends || starts->size() != ends->size())
    return std::nullopt;
  SmallVector<int64_t> axes, steps(starts->size(), 1);
  if (hasInput(node, 3) || findInts(node, "axes")) {
    auto given = shapes.intsOf(node, 3, "axes");
    if (!given)
      return std::nullopt;
    axes = *given;
  } else {
    for (size_t i = 0; i < starts->size(); ++i)
      axes.push_back(i);
  }
  if (hasInput(node, 4)) {
    auto given = shapes.constantInts(node.getInputs()[4]);
    if (!given)
      return std::nullopt;
    steps = *given;
  }
  if (axes.size() != starts->size() || steps.size() != starts->size())
    return std::nullopt;
  for (size_t i = 0; i < axes.size(); ++i) {
    auto axis = normalAxis(axes[i], data.shape.size());
    if (!axis)
      return std::nullopt;
    auto range = sliceRange((*starts)[i], (*ends)[i], steps[i],
                            data.shape[*axis], shapes.symbols);
    if (!range)
      return std::nullopt;
    ranges[*axis] = *range;
  }
  return ranges;
}

const TensorInfo &ShapeRules::in(unsigned index) {
  static const TensorInfo unknown;
  return hasInput(node, index) ? shapes.of(node.getInputs()[index]) : unknown;
}

TensorInfo ShapeRules::ranked(Shape shape) const {
  TensorInfo info;
  info.ranked = true;
  info.shape = std::move(shape);
  return info;
}

TensorInfo ShapeRules::shapeOf() {
  if (!in(0).ranked)
    return {};
  int64_t rank = in(0).shape.size();
  auto clamp = [&](int64_t value) {
    return std::max<int64_t>(0,
                             std::min(rank, value < 0 ? value + rank : value));
  };
  int64_t start = clamp(intAttr(node, "start", 0)),
          end = clamp(intAttr(node, "end", rank));
  std::vector<Scalar> elements;
  for (int64_t i = start; i < end; ++i)
    elements.push_back(Scalar(in(0).shape[i]));
  TensorInfo info = ranked({SymExpr(int64_t(elements.size()))});
  info.elements = std::move(elements);
  return info;
}

TensorInfo ShapeRules::size() {
  if (!in(0).ranked)
    return {};
  SymExpr total(1);
  for (const SymExpr &extent : in(0).shape)
    total = total * extent;
  TensorInfo info = ranked({});
  info.elements = std::vector<Scalar>{Scalar(total)};
  return info;
}

TensorInfo ShapeRules::gather() {
  const TensorInfo &data = in(0), &indices = in(1);
  auto axis = normalAxis(intAttr(node, "axis", 0), data.shape.size());
  if (!data.ranked || !indices.ranked || !axis)
    return {};
  Shape shape(data.shape.begin(), data.shape.begin() + *axis);
  shape.append(indices.shape.begin(), indices.shape.end());
  shape.append(data.shape.begin() + *axis + 1, data.shape.end());
  TensorInfo info = ranked(shape);
  if (!data.elements || !indices.elements || data.shape.size() != 1)
    return info;
  std::vector<Scalar> elements;
  for (const Scalar &index : *indices.elements) {
    auto number = index.integer.constant();
    auto at =
        number ? normalAxis(*number, data.elements->size()) : std::nullopt;
    if (!at)
      return info;
    elements.push_back((*data.elements)[*at]);
  }
  info.elements = std::move(elements);
  return info;
}

TensorInfo ShapeRules::slice() {
  auto ranges = sliceRanges(shapes, node);
  if (!ranges) {
    // Axes that the slice does not touch keep their size.
    auto axes = shapes.intsOf(node, 3, "axes");
    if (!in(0).ranked || !axes)
      return {};
    Shape shape = in(0).shape;
    for (int64_t given : *axes) {
      auto axis = normalAxis(given, shape.size());
      if (!axis)
        return {};
      shape[*axis] = shapes.symbols.fresh("slice");
    }
    return ranked(shape);
  }
  Shape shape;
  for (const SliceRange &range : *ranges)
    shape.push_back(range.size);
  TensorInfo info = ranked(shape);
  auto sizes = constantShape(shape), extents = constantShape(in(0).shape);
  if (!in(0).elements || !sizes || !extents ||
      !llvm::all_of(*ranges, [](const SliceRange &range) {
        return range.start.isConstant();
      }))
    return info;
  auto total = numElements(shape);
  if (!total || *total > kMaxElements)
    return info;
  std::vector<Scalar> elements;
  for (size_t at = 0; at < *total; ++at) {
    int64_t rest = int64_t(at), index = 0, stride = 1;
    for (size_t axis = sizes->size(); axis-- > 0;) {
      int64_t coordinate = rest % (*sizes)[axis];
      rest /= (*sizes)[axis];
      index += (*(*ranges)[axis].start.constant() +
                coordinate * (*ranges)[axis].step) *
               stride;
      stride *= (*extents)[axis];
    }
    elements.push_back((*in(0).elements)[index]);
  }
  info.elements = std::move(elements);
  return info;
}

TensorInfo ShapeRules::concat() {
  if (node.getInputs().empty() || !in(0).ranked)
    return {};
  auto axis = normalAxis(intAttr(node, "axis", 0), in(0).shape.size());
  if (!axis)
    return {};
  Shape shape = in(0).shape;
  std::vector<Scalar> elements;
  // Elements of a concatenation along the outermost axis follow each other.
  bool known = *axis == 0;
  for (unsigned i = 0; i < node.getInputs().size(); ++i) {
    const TensorInfo &part = in(i);
    if (!part.ranked || part.shape.size() != shape.size())
      return {};
    if (i > 0)
      shape[*axis] = shape[*axis] + part.shape[*axis];
    known &= part.elements.has_value();
    if (known)
      elements.insert(elements.end(), part.elements->begin(),
                      part.elements->end());
  }
  TensorInfo info = ranked(shape);
  if (known)
    info.elements = std::move(elements);
  return info;
}

TensorInfo ShapeRules::squeeze() {
  if (!in(0).ranked)
    return {};
  SmallVector<bool> drop(in(0).shape.size(), false);
  if (hasInput(node, 1) || findInts(node, "axes")) {
    auto axes = shapes.intsOf(node, 1, "axes");
    if (!axes)
      return {};
    for (int64_t given : *axes) {
      auto axis = normalAxis(given, drop.size());
      if (!axis)
        return {};
      drop[*axis] = true;
    }
  } else {
    for (auto [index, extent] : llvm::enumerate(in(0).shape))
      drop[index] = extent.isConstant(1);
  }
  Shape shape;
  for (auto [index, extent] : llvm::enumerate(in(0).shape))
    if (!drop[index])
      shape.push_back(extent);
  TensorInfo info = ranked(shape);
  info.elements = in(0).elements;
  return info;
}

TensorInfo ShapeRules::unsqueeze() {
  auto axes = shapes.intsOf(node, 1, "axes");
  if (!in(0).ranked || !axes)
    return {};
  size_t rank = in(0).shape.size() + axes->size();
  SmallVector<bool> added(rank, false);
  for (int64_t given : *axes) {
    auto axis = normalAxis(given, rank);
    if (!axis || added[*axis])
      return {};
    added[*axis] = true;
  }
  Shape shape;
  const SymExpr *next = in(0).shape.begin();
  for (bool isNew : added)
    shape.push_back(isNew ? SymExpr(1) : *next++);
  TensorInfo info = ranked(shape);
  info.elements = in(0).elements;
  return info;
}

TensorInfo ShapeRules::reshape() {
  const TensorInfo &data = in(0), &target = in(1);
  std::vector<Scalar> wanted;
  if (target.elements)
    wanted = *target.elements;
  else if (auto attribute = findInts(node, "shape")) // opset 1
    for (int64_t size : *attribute)
      wanted.push_back(Scalar(SymExpr(size)));
  else
    return {};
  if (!data.ranked)
    return {};
  bool allowZero = intAttr(node, "allowzero", 0) != 0;
  Shape unmatched = data.shape, shape;
  SymExpr rest(1);
  std::optional<size_t> open;
  for (auto [index, element] : llvm::enumerate(wanted)) {
    SymExpr extent = shapes.symbols.normalize(element.integer);
    if (extent.isConstant(0) && !allowZero && index < data.shape.size())
      extent = data.shape[index];
    if (extent.isConstant(-1)) {
      if (open)
        return {};
      open = index;
    } else if (auto *same = llvm::find_if(
                   unmatched,
                   [&](const SymExpr &e) { return shapes.equal(e, extent); });
               same != unmatched.end()) {
      unmatched.erase(same); // sums such as past + sequence cancel as a whole
    } else {
      rest = rest * extent;
    }
    shape.push_back(extent);
  }
  if (open) {
    SymExpr total(1);
    for (const SymExpr &extent : unmatched)
      total = total * extent;
    auto quotient = shapes.symbols.normalize(total).divideExactly(
        shapes.symbols.normalize(rest));
    shape[*open] = quotient ? *quotient : shapes.symbols.fresh("reshape");
  }
  TensorInfo info = ranked(shape);
  info.elements = data.elements;
  return info;
}

TensorInfo ShapeRules::flatten() {
  int64_t rank = in(0).shape.size(), axis = intAttr(node, "axis", 1);
  axis = axis < 0 ? axis + rank : axis;
  if (!in(0).ranked || axis < 0 || axis > rank)
    return {};
  SymExpr outer(1), inner(1);
  for (auto [index, extent] : llvm::enumerate(in(0).shape))
    (int64_t(index) < axis ? outer : inner) =
        (int64_t(index) < axis ? outer : inner) * extent;
  TensorInfo info = ranked({outer, inner});
  info.elements = in(0).elements;
  return info;
}

TensorInfo ShapeRules::expand() {
  if (!in(0).ranked || !in(1).elements)
    return {};
  Shape target;
  for (const Scalar &element : *in(1).elements)
    target.push_back(shapes.symbols.normalize(element.integer));
  Shape shape = in(0).shape;
  shapes.broadcastInto(shape, target);
  TensorInfo info = ranked(shape);
  auto sizes = constantShape(shape), extents = constantShape(in(0).shape);
  if (!in(0).elements || !sizes || !extents || !broadcastsTo(*extents, *sizes))
    return info;
  auto total = numElements(shape);
  if (!total || *total > kMaxElements)
    return info;
  std::vector<Scalar> elements;
  for (size_t at = 0; at < *total; ++at)
    elements.push_back((*in(0).elements)[broadcastIndex(at, *sizes, *extents)]);
  info.elements = std::move(elements);
  return info;
}

TensorInfo ShapeRules::transpose() {
  auto order = permutation(node, in(0).shape.size());
  if (!in(0).ranked || !order)
    return {};
  size_t rank = order->size();
  Shape shape;
  for (unsigned axis : *order)
    shape.push_back(in(0).shape[axis]);
  TensorInfo info = ranked(shape);
  auto sizes = constantShape(shape);
  if (!in(0).elements || !sizes)
    return info;
  SmallVector<int64_t> strides(rank, 1);
  for (size_t axis = rank; axis-- > 1;)
    strides[axis - 1] = strides[axis] * *in(0).shape[axis].constant();
  std::vector<Scalar> elements;
  for (size_t at = 0; at < in(0).elements->size(); ++at) {
    size_t rest = at, index = 0;
    for (size_t axis = rank; axis-- > 0;) {
      index += (rest % (*sizes)[axis]) * strides[(*order)[axis]];
      rest /= (*sizes)[axis];
    }
    elements.push_back((*in(0).elements)[index]);
  }
  info.elements = std::move(elements);
  return info;
}

TensorInfo ShapeRules::range() {
  auto start = shapes.scalar(node.getInputs()[0]),
       limit = shapes.scalar(node.getInputs()[1]),
       delta = shapes.scalar(node.getInputs()[2]);
  if (!start || !limit || !delta)
    return ranked({shapes.symbols.fresh("range")});
  auto from = start->number(), to = limit->number(), by = delta->number();
  if (from && to && by && *by != 0) {
    double count = std::max(0.0, std::ceil((*to - *from) / *by));
    if (!(count <= 1 << 16))
      return ranked({shapes.symbols.fresh("range")});
    std::vector<Scalar> elements;
    for (int64_t i = 0; i < int64_t(count); ++i)
      elements.push_back(
          start->isFloat || delta->isFloat
              ? Scalar::ofFloat(*from + double(i) * *by)
              : Scalar(start->integer + SymExpr(i) * delta->integer));
    TensorInfo info = ranked({SymExpr(int64_t(count))});
    info.elements = std::move(elements);
    return info;
  }
  if (by && *by == 1 && !start->isFloat && !limit->isFloat)
    return ranked({limit->integer - start->integer});
  return ranked({shapes.symbols.fresh("range")});
}

TensorInfo ShapeRules::constantOfShape() {
  if (!in(0).elements)
    return {};
  Shape shape;
  for (const Scalar &element : *in(0).elements)
    shape.push_back(shapes.symbols.normalize(element.integer));
  TensorInfo info = ranked(shape);
  auto total = numElements(shape);
  if (!total || *total > kMaxElements)
    return info;
  Scalar fill = Scalar::ofFloat(0);
  if (auto value = dyn_cast_or_null<ElementsAttr>(node.getOnnxAttr("value"))) {
    auto read = readElements(value, 1);
    if (!read || read->empty())
      return info;
    fill = read->front();
  }
  info.elements = std::vector<Scalar>(*total, fill);
  return info;
}

TensorInfo ShapeRules::matmul() {
  Shape a = in(0).shape, b = in(1).shape;
  if (!in(0).ranked || !in(1).ranked || a.empty() || b.empty())
    return {};
  bool vectorA = a.size() == 1, vectorB = b.size() == 1;
  if (vectorA)
    a.insert(a.begin(), SymExpr(1));
  if (vectorB)
    b.push_back(SymExpr(1));
  Shape batch(a.begin(), a.end() - 2), other(b.begin(), b.end() - 2);
  shapes.broadcastInto(batch, other);
  if (!vectorA)
    batch.push_back(a[a.size() - 2]);
  if (!vectorB)
    batch.push_back(b.back());
  return ranked(batch);
}

TensorInfo ShapeRules::gemm() {
  if (in(0).shape.size() != 2 || in(1).shape.size() != 2)
    return {};
  return ranked({in(0).shape[intAttr(node, "transA", 0) ? 1 : 0],
                 in(1).shape[intAttr(node, "transB", 0) ? 0 : 1]});
}

TensorInfo ShapeRules::reduce() {
  bool arg = node.getOpType().starts_with("Arg");
  SmallVector<int64_t> axes;
  if (arg) {
    axes.push_back(intAttr(node, "axis", 0));
  } else if (hasInput(node, 1) || findInts(node, "axes")) {
    auto given = shapes.intsOf(node, 1, "axes");
    if (!given)
      return {};
    axes = *given;
  }
  if (!in(0).ranked)
    return {};
  bool keep = intAttr(node, "keepdims", 1) != 0;
  if (axes.empty() && intAttr(node, "noop_with_empty_axes", 0))
    return ranked(in(0).shape);
  SmallVector<bool> reduced(in(0).shape.size(), axes.empty());
  for (int64_t given : axes) {
    auto axis = normalAxis(given, reduced.size());
    if (!axis)
      return {};
    reduced[*axis] = true;
  }
  Shape shape;
  for (auto [index, extent] : llvm::enumerate(in(0).shape))
    if (!reduced[index])
      shape.push_back(extent);
    else if (keep)
      shape.push_back(SymExpr(1));
  return ranked(shape);
}

TensorInfo ShapeRules::gatherND() {
  const TensorInfo &data = in(0), &indices = in(1);
  int64_t batch = intAttr(node, "batch_dims", 0);
  if (!data.ranked || !indices.ranked || indices.shape.empty() || batch < 0)
    return {};
  auto depth = indices.shape.back().constant();
  if (!depth || *depth < 0 || size_t(batch + *depth) > data.shape.size())
    return {};
  Shape shape(indices.shape.begin(), indices.shape.end() - 1);
  shape.append(data.shape.begin() + batch + *depth, data.shape.end());
  return ranked(shape);
}

void ShapeRules::split(MutableArrayRef<TensorInfo> results) {
  auto axis = normalAxis(intAttr(node, "axis", 0), in(0).shape.size());
  if (!in(0).ranked || !axis)
    return;
  SmallVector<int64_t> sizes;
  if (hasInput(node, 1) || findInts(node, "split")) {
    auto given = shapes.intsOf(node, 1, "split");
    if (!given)
      return;
    sizes = *given;
  } else {
    auto total = in(0).shape[*axis].constant();
    if (!total || results.empty())
      return;
    int64_t chunk =
        (*total + int64_t(results.size()) - 1) / int64_t(results.size());
    for (size_t i = 0; i < results.size(); ++i)
      sizes.push_back(std::min<int64_t>(chunk, *total - chunk * int64_t(i)));
  }
  if (sizes.size() != results.size())
    return;
  for (auto [result, extent] : llvm::zip(results, sizes)) {
    Shape shape = in(0).shape;
    shape[*axis] = SymExpr(extent);
    result = ranked(shape);
  }
}

/// Attention of opset 23 and 24: values (B, S, heads * dim) or (B, heads, S,
/// dim).
void ShapeRules::attention(MutableArrayRef<TensorInfo> results) {
  const TensorInfo &q = in(0), &k = in(1), &v = in(2);
  if (!q.ranked || !k.ranked || !v.ranked || q.shape.size() != v.shape.size() ||
      q.shape.size() != k.shape.size() || q.shape.size() < 3)
    return;
  if (q.shape.size() == 4) {
    results[0] = ranked({q.shape[0], q.shape[1], q.shape[2], v.shape[3]});
  } else if (q.shape.size() == 3) {
    auto width = v.shape[2].constant();
    int64_t heads = intAttr(node, "q_num_heads", 0),
            kvHeads = intAttr(node, "kv_num_heads", 0);
    if (!width || heads <= 0 || kvHeads <= 0)
      return;
    results[0] =
        ranked({q.shape[0], q.shape[1], SymExpr(*width / kvHeads * heads)});
  }
  for (unsigned i = 1; i <= 2 && i < results.size(); ++i) {
    if (!in(3 + i).ranked || in(3 + i).shape.size() != 4)
      continue;
    Shape shape = in(3 + i).shape;
    shape[2] = shape[2] + k.shape[k.shape.size() == 4 ? 2 : 1];
    results[i] = ranked(shape);
  }
}

void ShapeRules::apply(MutableArrayRef<TensorInfo> results) {
  if (results.empty())
    return;
  if (node.getDomainName() == "ai.adaptive") {
    if (in(1).ranked)
      results[0] = ranked(in(1).shape);
    return;
  }
  if (!node.getDomainName().empty() || node.getInputs().empty())
    return;
  static const llvm::StringSet<> sameShape = {"Softmax",
                                              "LogSoftmax",
                                              "LayerNormalization",
                                              "RMSNormalization",
                                              "RotaryEmbedding",
                                              "Dropout",
                                              "Trilu",
                                              "CumSum",
                                              "Gelu",
                                              "Softplus",
                                              "HardSwish",
                                              "Swish",
                                              "Mish",
                                              "Elu",
                                              "LeakyRelu",
                                              "Clip",
                                              "SimplifiedLayerNormalization"};
  StringRef name = node.getOpType();
  if (sameShape.contains(name)) {
    if (in(0).ranked)
      results[0] = ranked(in(0).shape);
    return;
  }
  if (name.starts_with("Reduce") || name == "ArgMax" || name == "ArgMin") {
    results[0] = reduce();
    return;
  }
  if (name == "Split")
    return split(results);
  if (name == "Attention")
    return attention(results);
  using Rule = TensorInfo (ShapeRules::*)();
  Rule rule = llvm::StringSwitch<Rule>(name)
                  .Case("Shape", &ShapeRules::shapeOf)
                  .Case("Size", &ShapeRules::size)
                  .Case("Gather", &ShapeRules::gather)
                  .Case("GatherND", &ShapeRules::gatherND)
                  .Case("Slice", &ShapeRules::slice)
                  .Case("Concat", &ShapeRules::concat)
                  .Case("Squeeze", &ShapeRules::squeeze)
                  .Case("Unsqueeze", &ShapeRules::unsqueeze)
                  .Case("Reshape", &ShapeRules::reshape)
                  .Case("Flatten", &ShapeRules::flatten)
                  .Case("Expand", &ShapeRules::expand)
                  .Case("Transpose", &ShapeRules::transpose)
                  .Case("ConstantOfShape", &ShapeRules::constantOfShape)
                  .Case("MatMul", &ShapeRules::matmul)
                  .Case("Gemm", &ShapeRules::gemm)
                  .Default(nullptr);
  if (rule)
    results[0] = (this->*rule)();
  else if (name == "Range" && node.getInputs().size() == 3)
    results[0] = range();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Linear layers: which panels, which rows, what happens to the sums. An item is
// a panel of 64 outputs; a panel is read from memory once per launch, with the
// rows as the inner loop in register tiles of up to 6 rows.
//
// Rows are packed by a launch of their own when the weights want them so.

#include "Linear.h"
#include "ee/abi.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

namespace {

/// How the input must lie for a weight format.
enum class Family { F32, BF16, Int };

Family familyOf(Format format) {
  return format == Format::F32    ? Family::F32
         : format == Format::BF16 ? Family::BF16
                                  : Family::Int;
}

/// Where packed rows lie within an op's scratch.
struct Scratch {
  Scratch(LinearOp op, const KernelContext &context) {
    int64_t width = widthOf(op.getInput().getType());
    for (Value weight : op.getWeights()) {
      Family family = familyOf(context.weight(weight).packing.format);
      bf16 |= family == Family::BF16;
      integer |= family == Family::Int;
    }
    integerOffset = bf16 ? bf16RowBytes(width) : 0;
    bytes = integerOffset + (integer ? IntRow(width).bytes : 0);
  }
  int64_t offset(Family family) const {
    return family == Family::Int ? integerOffset : 0;
  }

  bool bf16 = false, integer = false;
  int64_t integerOffset = 0, bytes = 0;
};

/// Rows of outputs with the address split into base, row index and stride, so
/// that results of one kind can be chosen at run time.
struct Output {
  Value base, stride;
  bool bySlot;

  Output(Kernel &k, const RowBuffer &buffer)
      : bySlot(buffer.kind == RowBuffer::RowStore) {
    base = bySlot ? k.at(k.field(offsetof(ee_stage_args, row_store), k.ptr),
                         k.place(buffer).offset)
                  : k.address(buffer, k.c64(0));
    stride = k.place(buffer).stride;
  }
  Value row(Kernel &k, Value index) const {
    return k.at(base, k.mul(bySlot ? k.slot(index) : index, stride));
  }
};

/// One panel of outputs to compute: the weights that meet in the epilogue (one
/// without it), each at its panel.
struct Panel {
  Packing packing;
  Values weights;
  Value first, outputs; ///< first output of the panel, outputs in all
  bool ragged;          ///< some panel is not full
};

class LinearEmitter {
public:
  LinearEmitter(LinearOp op, const Emitter &e)
      : op(op), e(e), scratch(op, e.context),
        width(widthOf(op.getInput().getType())) {}

  LogicalResult run();

private:
  void emitPacking(Family family, StringRef suffix);
  void emitPlain();
  LogicalResult emitCombined();
  void emitPanel(Kernel &k, const Panel &panel, const Output &out);
  void emitTile(Kernel &k, const Panel &panel, const Output &out, Value row,
                int64_t m, int64_t v, Value first);
  Values accumulate(Kernel &k, const Panel &panel, Value weight,
                    const Tile &tile);
  Value combine(Kernel &k, ValueRange sums, ValueRange extras, Value offset,
                Value mask);
  int64_t grainOf(int64_t panelBytes) {
    return std::max<int64_t>(1, (40 << 10) / panelBytes);
  }

  LinearOp op;
  const Emitter &e;
  Scratch scratch;
  int64_t width;
  LogicalResult result = success();
};

} // namespace

KernelNeeds adaptive::kernels::linearNeeds(LinearOp op,
                                           const KernelContext &context) {
  return {Scratch(op, context).bytes, 0};
}

void LinearEmitter::emitPacking(Family family, StringRef suffix) {
  Kernel k = e.kernel(op.getLoc(), suffix);
  k.loop(k.begin, k.end, 1, [&](Value row) {
    Value in = k.address(e.context.buffer(op.getInput()), row);
    Value out =
        k.at(k.address(e.context.scratch(op), row), scratch.offset(family));
    if (family == Family::BF16)
      packRowBF16(k, width, in, out);
    else
      packRowInt(k, width, in, out);
  });
  e.launch(k, 1, 0, std::max<int64_t>(1, (32 << 10) / (width * 4)));
}

Values LinearEmitter::accumulate(Kernel &k, const Panel &panel, Value weight,
                                 const Tile &tile) {
  switch (familyOf(panel.packing.format)) {
  case Family::F32:
    return accumulateF32(k, panel.packing, weight, tile);
  case Family::BF16:
    return accumulateBF16(k, panel.packing, weight, tile);
  case Family::Int:
    return accumulateInt(k, panel.packing, weight, tile);
  }
  llvm_unreachable("all families are handled");
}

/// The epilogue on one wide value: sums of all weights, then the extras at byte
/// `offset` of their rows.
Value LinearEmitter::combine(Kernel &k, ValueRange sums, ValueRange extras,
                             Value offset, Value mask) {
  if (op.getEpilogue().empty())
    return sums[0];
  Values arguments(sums);
  for (Value extra : extras)
    arguments.push_back(k.load(k.vf32, k.at(extra, offset), mask));
  FailureOr<Value> value = emitRegion(k, op.getEpilogue(), arguments);
  if (succeeded(value))
    return *value;
  result = failure();
  return sums[0];
}

void LinearEmitter::emitTile(Kernel &k, const Panel &panel, const Output &out,
                             Value row, int64_t m, int64_t v, Value first) {
  Family family = familyOf(panel.packing.format);
  Values rows, indices;
  for (int64_t r = 0; r < m; ++r) {
    indices.push_back(k.add(row, r));
    rows.push_back(family == Family::F32
                       ? k.address(e.context.buffer(op.getInput()), indices[r])
                       : k.at(k.address(e.context.scratch(op), indices[r]),
                              scratch.offset(family)));
  }
  // One row leaves the hardware time enough, except that integer loops are
  // long.
  bool prefetch = m < tileRows && (m > 2 || family == Family::Int);
  SmallVector<Values> sums;
  for (Value weight : panel.weights)
    sums.push_back(accumulate(k, panel, weight, {rows, v, first, prefetch}));
  Value start = k.add(panel.first, k.mul(first, lanes));
  for (int64_t r = 0; r < m; ++r) {
    Value target = out.row(k, indices[r]);
    Values extras;
    for (Value extra : op.getExtras())
      extras.push_back(isStatic(extra.getType())
                           ? k.weight(e.context.weight(extra))
                           : k.address(e.context.buffer(extra), indices[r]));
    for (int64_t c = 0; c < v; ++c) {
      Value n = k.add(start, c * lanes), offset = k.mul(n, 4);
      Value mask = panel.ragged ? k.laneMask(k.sub(panel.outputs, n)) : Value();
      Values mine;
      for (const Values &all : sums)
        mine.push_back(all[r * v + c]);
      k.store(combine(k, mine, extras, offset, mask), k.at(target, offset),
              mask);
    }
  }
}

void LinearEmitter::emitPanel(Kernel &k, const Panel &panel,
                              const Output &out) {
  Format format = panel.packing.format;
  // Rows [from, to) in tiles of m. Columns outside, rows inside: the columns of
  // the panel stay in L1.
  auto tiles = [&](Value from, Value to, int64_t m) {
    int64_t v = e.target.tileWidth(format, m);
    auto column = [&](Value first) {
      k.loop(from, to, m,
             [&](Value row) { emitTile(k, panel, out, row, m, v, first); });
    };
    if (v == panelVectors)
      column(k.c64(0));
    else
      k.loop(k.c64(0), k.c64(panelVectors), v, column);
  };
  auto roundDown = [&](Value rows, int64_t m) {
    return k.sub(rows, k.rem(rows, k.c64(m)));
  };
  Value rows = k.rowCount(), done = roundDown(rows, tileRows);
  int64_t rest = tileRows;
  if (familyOf(format) == Family::Int) {
    // Full tiles are half a panel wide, which is worth it when the panel is
    // read often; below that, tiles of 3 rows read it once, in the order of
    // memory.
    done = k.select(k.cmp(Cmp::GE, rows, k.c64(2 * tileRows)), done, k.c64(0));
    rest = tileRows / 2;
  }
  tiles(k.c64(0), done, tileRows);
  if (rest != tileRows) {
    Value to = k.add(done, roundDown(k.sub(rows, done), rest));
    tiles(done, to, rest);
    done = to;
  }
  Value left = k.sub(rows, done);
  for (int64_t m = 1; m < rest; ++m)
    k.ifThen(k.cmp(Cmp::EQ, left, k.c64(m)), [&] { tiles(done, rows, m); });
}

/// Without an epilogue the items are the panels of all weights. Weights of one
/// format whose results live in one kind of buffer share code.
void LinearEmitter::emitPlain() {
  struct Entry {
    WeightRef ref;
    RowBuffer out;
  };
  SmallVector<SmallVector<Entry>> classes;
  for (auto [weight, value] :
       llvm::zip_equal(op.getWeights(), op.getOutputs())) {
    Entry entry{e.context.weight(weight), e.context.buffer(value)};
    auto same = llvm::find_if(classes, [&](ArrayRef<Entry> c) {
      return c[0].ref.packing.format == entry.ref.packing.format &&
             c[0].out.kind == entry.out.kind;
    });
    if (same == classes.end())
      classes.push_back({entry});
    else
      same->push_back(entry);
  }
  Kernel k = e.kernel(op.getLoc());
  int64_t start = 0, bytes = 0;
  for (ArrayRef<Entry> entries : classes) {
    const Packing &packing = entries[0].ref.packing;
    int64_t total = 0;
    bool ragged = false;
    SmallVector<Output> outputs;
    Values bases;
    for (const Entry &entry : entries) {
      total += entry.ref.packing.panels();
      ragged |= entry.ref.packing.n % Packing::panel != 0;
      outputs.emplace_back(k, entry.out);
      bases.push_back(k.weight(entry.ref));
    }
    Value from = k.maxS(k.begin, k.c64(start)),
          to = k.minS(k.end, k.c64(start + total));
    k.loop(from, to, 1, [&](Value item) {
      Value base = bases[0], first = k.c64(start), n = k.c64(packing.n);
      Output out = outputs[0];
      int64_t place = start;
      for (size_t w = 1; w < entries.size(); ++w) {
        place += entries[w - 1].ref.packing.panels();
        Value here = k.cmp(Cmp::GE, item, k.c64(place));
        base = k.select(here, bases[w], base);
        first = k.select(here, k.c64(place), first);
        n = k.select(here, k.c64(entries[w].ref.packing.n), n);
        out.base = k.select(here, outputs[w].base, out.base);
        out.stride = k.select(here, outputs[w].stride, out.stride);
      }
      Value index = k.sub(item, first);
      Panel panel{packing,
                  {k.at(base, index, packing.panelBytes())},
                  k.mul(index, Packing::panel),
                  n,
                  ragged};
      emitPanel(k, panel, out);
    });
    start += total;
    bytes = std::max(bytes, packing.panelBytes());
  }
  e.launch(k, 0, start, grainOf(bytes));
}

/// With an epilogue an item is a panel of every weight.
LogicalResult LinearEmitter::emitCombined() {
  Kernel k = e.kernel(op.getLoc());
  SmallVector<WeightRef> refs;
  for (Value weight : op.getWeights())
    refs.push_back(e.context.weight(weight));
  const Packing &packing = refs[0].packing;
  for (Value extra : op.getExtras())
    if (isStatic(extra.getType()) && failed(plainWeight(op, e, extra)))
      return failure();
  Output out(k, e.context.buffer(op.getOutputs()[0]));
  k.loop(k.begin, k.end, 1, [&](Value item) {
    Panel panel{packing,
                {},
                k.mul(item, Packing::panel),
                k.c64(packing.n),
                packing.n % Packing::panel != 0};
    for (const WeightRef &ref : refs)
      panel.weights.push_back(k.at(k.weight(ref), item, packing.panelBytes()));
    emitPanel(k, panel, out);
  });
  e.launch(k, 0, packing.panels(),
           grainOf(packing.panelBytes() * int64_t(refs.size())));
  return result;
}

LogicalResult LinearEmitter::run() {
  Packing first = e.context.weight(op.getWeights()[0]).packing;
  for (Value weight : op.getWeights()) {
    Packing packing = e.context.weight(weight).packing;
    if (packing.format == Format::Plain)
      return op.emitError(
          "weights of a linear must be packed in panels, but one is plain");
    if (!op.getEpilogue().empty() && packing.format != first.format)
      return op.emitError("weights that an epilogue combines must have one "
                          "format, but have ")
             << formatName(first.format) << " and "
             << formatName(packing.format);
  }
  if (scratch.bf16)
    emitPacking(Family::BF16, "_rows_bf16");
  if (scratch.integer)
    emitPacking(Family::Int, "_rows_s8");
  if (op.getEpilogue().empty()) {
    emitPlain();
    return success();
  }
  return emitCombined();
}

LogicalResult adaptive::kernels::emitLinear(LinearOp op, const Emitter &e) {
  return LinearEmitter(op, e).run();
}

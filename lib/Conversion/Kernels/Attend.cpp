// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Causal attention over paged keys and values: the softmax of each page
// relative to its own maximum, and the pages merged in ascending order. Pages
// start at absolute positions, so that a row's bits do not depend on the rows
// that share its launch, nor on how many pages are worked on side by side.
//
// An item is a row and a KV head; the query heads that read the KV head share
// each load of a key or value. Keys lie with positions side by side, values
// with elements side by side, so both passes run along memory without
// reductions.

#include "Emit.h"
#include "ee/abi.h"

#include <limits>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

namespace {

struct AttendShape {
  AttendShape(AttendOp op, const KVRef &kv)
      : heads(op.getHeads()), share(heads / kv.heads), headDim(kv.headDim),
        sumBytes(align64(headDim * 4)), weightBytes(kv.page * 4),
        scratch(share * (sumBytes + weightBytes + 64)) {}
  int64_t heads, share, headDim;
  int64_t sumBytes,
      weightBytes; ///< per query head: weighted values, weights of a page
  int64_t scratch;
};

class AttendEmitter {
public:
  AttendEmitter(AttendOp op, const Emitter &e)
      : op(op), e(e), kv(e.context.kv(op)), shape(op, kv),
        k(e.kernel(op.getLoc())), registers(e.target.accumulators()) {}
  void run();

private:
  Value sums(Value head) {
    return k.at(k.workerScratch(), head, shape.sumBytes);
  }
  Value weights(Value head) {
    return k.at(k.at(k.workerScratch(), shape.share * shape.sumBytes), head,
                shape.weightBytes);
  }
  /// Of a head: maximum and sum of the pages merged so far, then what they and
  /// the page at hand are multiplied with when it is merged; four f32.
  Value state(Value head) {
    return k.at(k.at(k.workerScratch(),
                     shape.share * (shape.sumBytes + shape.weightBytes)),
                head, 64);
  }
  void blocks(int64_t total, int64_t step,
              function_ref<void(Value, int64_t)> body);
  void scores(Value query, Value keys, Value visible);
  void softmax(Value visible);
  void addValues(Value values, Value visible);

  AttendOp op;
  const Emitter &e;
  KVRef kv;
  AttendShape shape;
  Kernel k;
  int64_t registers; ///< accumulators of a tile, wide
};

} // namespace

KernelNeeds adaptive::kernels::attendNeeds(AttendOp op,
                                           const KernelContext &context) {
  return {0, AttendShape(op, context.kv(op)).scratch};
}

/// Calls body(first, count) over [0, total) in steps, the last one shorter.
void AttendEmitter::blocks(int64_t total, int64_t step,
                           function_ref<void(Value, int64_t)> body) {
  int64_t full = total / step * step;
  if (full)
    k.loop(k.c64(0), k.c64(full), step,
           [&](Value first) { body(first, step); });
  if (full < total)
    body(k.c64(full), total - full);
}

/// weights[head][position] = scale * (query . key), -inf where not visible.
/// Keys of positions that are not visible take part in lanes nobody reads.
void AttendEmitter::scores(Value query, Value keys, Value visible) {
  int64_t wide = std::min<int64_t>(kv.page / lanes, registers >= 24 ? 4 : 2);
  int64_t heads = std::min(shape.share, std::max<int64_t>(1, registers / wide));
  Value scale = k.vcf(float(op.getScale().convertToDouble()));
  Value never = k.vcf(-std::numeric_limits<float>::infinity());
  blocks(shape.share, heads, [&](Value head, int64_t h) {
    blocks(kv.page / lanes, wide, [&](Value block, int64_t w) {
      Value column = k.at(keys, block, lanes * 4);
      Values init(h * w, k.vcf(0));
      Values dots = k.loop(
          k.c64(0), k.c64(kv.headDim), 1, init, [&](Value d, ValueRange c) {
            Values next, key;
            Value line = k.at(column, d, kv.page * 4);
            for (int64_t j = 0; j < w; ++j)
              key.push_back(k.load(k.vf32, k.at(line, j * lanes * 4)));
            for (int64_t i = 0; i < h; ++i) {
              Value q = k.at(query, k.add(head, i), kv.headDim * 4);
              Value x = k.splat(k.load(k.f32, k.at(q, d, 4)));
              for (int64_t j = 0; j < w; ++j)
                next.push_back(k.fma(x, key[j], c[i * w + j]));
            }
            return next;
          });
      for (int64_t j = 0; j < w; ++j) {
        Value position = k.mul(k.add(block, j), lanes);
        Value mask = k.laneMask(k.sub(visible, position));
        for (int64_t i = 0; i < h; ++i)
          k.store(k.select(mask, k.mul(dots[i * w + j], scale), never),
                  k.at(weights(k.add(head, i)), position, 4));
      }
    });
  });
}

/// Turns the scores of a page into weights relative to its maximum, and merges
/// maximum and sum.
void AttendEmitter::softmax(Value visible) {
  Value vectors = k.div(k.add(visible, lanes - 1), k.c64(lanes));
  Value never = k.vcf(-std::numeric_limits<float>::infinity());
  k.loop(k.c64(0), k.c64(shape.share), 1, [&](Value head) {
    Value line = weights(head), record = state(head);
    Values top =
        k.loop(k.c64(0), vectors, 1, never, [&](Value i, ValueRange c) {
          return Values{k.maxF(k.load(k.vf32, k.at(line, i, 64)), c[0])};
        });
    Value pageMax = k.reduceMax(top[0]), wideMax = k.splat(pageMax);
    Values sum =
        k.loop(k.c64(0), vectors, 1, k.vcf(0), [&](Value i, ValueRange c) {
          Value address = k.at(line, i, 64);
          Value p = emitExp(k, k.sub(k.load(k.vf32, address), wideMax));
          k.store(p, address);
          return Values{k.add(c[0], p)};
        });
    Value oldMax = k.load(k.f32, record),
          oldSum = k.load(k.f32, k.at(record, 4));
    Value max = k.maxF(pageMax, oldMax);
    Value before = emitExp(k, k.sub(oldMax, max)),
          here = emitExp(k, k.sub(pageMax, max));
    k.store(max, record);
    k.store(k.fma(k.reduceAdd(sum[0]), here, k.mul(oldSum, before)),
            k.at(record, 4));
    k.store(before, k.at(record, 8));
    k.store(here, k.at(record, 12));
  });
}

/// Sums weight * value over the visible positions of a page in ascending order,
/// and merges that into sums[head].
void AttendEmitter::addValues(Value values, Value visible) {
  auto tile = [&](Value head, int64_t h, Value first, int64_t w, Value mask) {
    Values init(h * w, k.vcf(0));
    Values total =
        k.loop(k.c64(0), visible, 1, init, [&](Value position, ValueRange c) {
          Value line = k.at(k.at(values, position, kv.headDim * 4), first, 4);
          Values next, value;
          for (int64_t j = 0; j < w; ++j)
            value.push_back(k.load(k.vf32, k.at(line, j * lanes * 4), mask));
          for (int64_t i = 0; i < h; ++i) {
            Value p = k.splat(
                k.load(k.f32, k.at(weights(k.add(head, i)), position, 4)));
            for (int64_t j = 0; j < w; ++j)
              next.push_back(k.fma(p, value[j], c[i * w + j]));
          }
          return next;
        });
    for (int64_t i = 0; i < h; ++i) {
      Value record = state(k.add(head, i));
      Value before = k.splat(k.load(k.f32, k.at(record, 8))),
            here = k.splat(k.load(k.f32, k.at(record, 12)));
      for (int64_t j = 0; j < w; ++j) {
        Value place = k.at(k.at(sums(k.add(head, i)), first, 4), j * lanes * 4);
        Value old = k.mul(k.load(k.vf32, place, mask), before);
        k.store(k.fma(total[i * w + j], here, old), place, mask);
      }
    }
  };
  int64_t vectors = shape.headDim / lanes, tail = shape.headDim % lanes;
  int64_t wide =
      std::max<int64_t>(1, std::min<int64_t>(vectors, registers >= 24 ? 4 : 2));
  int64_t heads = std::min(shape.share, std::max<int64_t>(1, registers / wide));
  blocks(shape.share, heads, [&](Value head, int64_t h) {
    blocks(vectors, wide, [&](Value block, int64_t w) {
      tile(head, h, k.mul(block, lanes), w, Value());
    });
    if (tail)
      tile(head, h, k.c64(vectors * lanes), 1, k.constMask(tail));
  });
}

void AttendEmitter::run() {
  KVAccess access(k, kv);
  k.loop(k.begin, k.end, 1, [&](Value item) {
    Value row = k.div(item, k.c64(kv.heads)),
          kvHead = k.rem(item, k.c64(kv.heads));
    Value position = k.sext(k.column(offsetof(ee_rows, position), row), k.i64);
    Value sequence = k.sext(k.column(offsetof(ee_rows, sequence), row), k.i64);
    int64_t headBytes = kv.headDim * 4;
    auto mine = [&](Value buffer) {
      return k.at(k.address(e.context.buffer(buffer), row), kvHead,
                  shape.share * headBytes);
    };
    Value query = mine(op.getQuery()), out = mine(op.getResult());
    k.loop(k.c64(0), k.c64(shape.share), 1, [&](Value head) {
      k.store(k.cf(-std::numeric_limits<float>::infinity()), state(head));
      k.store(k.cf(0), k.at(state(head), 4));
      k.forLanes(kv.headDim, [&](Value d, Value mask) {
        k.store(k.vcf(0), k.at(sums(head), d, 4), mask);
      });
    });
    Value length = k.add(position, 1);
    k.loop(k.c64(0), length, kv.page, [&](Value first) {
      Value visible = k.minS(k.sub(length, first), k.c64(kv.page));
      Value page = access.page(sequence, k.div(first, k.c64(kv.page)));
      scores(query, access.keys(page, kvHead), visible);
      softmax(visible);
      addValues(access.values(page, kvHead), visible);
    });
    k.loop(k.c64(0), k.c64(shape.share), 1, [&](Value head) {
      Value sum = k.splat(k.load(k.f32, k.at(state(head), 4)));
      k.forLanes(kv.headDim, [&](Value d, Value mask) {
        Value total = k.load(k.vf32, k.at(sums(head), d, 4), mask);
        k.store(k.div(total, sum), k.at(k.at(out, head, headBytes), d, 4),
                mask);
      });
    });
  });
  e.launch(k, kv.heads, 0, 1);
}

LogicalResult adaptive::kernels::emitAttend(AttendOp op, const Emitter &e) {
  KVRef kv = e.context.kv(op);
  if (kv.page % lanes != 0)
    return op.emitError("pages must hold a multiple of 16 positions, but hold ")
           << kv.page;
  AttendEmitter(op, e).run();
  return success();
}

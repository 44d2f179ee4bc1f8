// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scores of exit points and the decision function. Scores are logits
// ln p - ln(1 - p), computed without forming p, so that sure rows keep their
// order.

#include "Emit.h"
#include "ee/abi.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

static constexpr float inf = std::numeric_limits<float>::infinity();

namespace {

/// What one pass over the logits of a row finds.
struct Peak {
  Value max, second, index;
};

} // namespace

/// Largest and second largest logit, and the first place of the largest. NaN
/// counts as nothing.
static Peak findPeak(Kernel &k, Value logits, int64_t width) {
  Values found =
      k.forLanes(width, {k.vcf(-inf), k.vcf(-inf), k.vci(0)},
                 [&](Value i, Value mask, ValueRange c) {
                   Value z = k.load(k.vf32, k.at(logits, i, 4), mask);
                   if (mask)
                     z = k.select(mask, z, k.vcf(-inf));
                   Value ids = k.add(k.splat(k.truncTo(i, k.i32)), k.laneIds());
                   Value above = k.cmp(Cmp::GT, z, c[0]);
                   return Values{k.select(above, z, c[0]),
                                 k.select(above, c[0], k.maxF(z, c[1])),
                                 k.select(above, ids, c[2])};
                 });
  Value max = k.reduceMax(found[0]), wide = k.splat(max);
  Value holds = k.cmp(Cmp::EQ, found[0], wide);
  // Smallest id among lanes that hold the maximum.
  Value ids =
      k.select(holds, found[2], k.vci(std::numeric_limits<int32_t>::max()));
  Value index = k.sub(k.c32(-1), k.reduceMax(k.sub(k.vci(-1), ids)));
  Value winner = k.andi(holds, k.cmp(Cmp::EQ, found[2], k.splat(index)));
  Value second = k.reduceMax(k.select(winner, found[1], found[0]));
  return {max, second, index};
}

LogicalResult adaptive::kernels::emitCriteria(CriteriaOp op, const Emitter &e) {
  int64_t width = widthOf(op.getLogits().getType());
  bool entropy = op.getKind() == Criterion::Entropy;
  e.rows(op.getLoc(), width * 16, [&](Kernel &k, Value row) {
    Value logits = k.address(e.context.buffer(op.getLogits()), row);
    Value score = k.cf(inf); // one token is always sure
    if (width > 1) {
      Peak peak = findPeak(k, logits, width);
      Value wideMax = k.splat(peak.max), wideIndex = k.splat(peak.index);
      // rest: sum of e^(z - max) without the largest; moment: of (max - z) e^(z
      // - max).
      Values sums = k.sumRow(
          width, entropy ? 2 : 1, [&](Value i, Value mask, ValueRange c) {
            Value z = k.load(k.vf32, k.at(logits, i, 4), mask);
            Value ids = k.add(k.splat(k.truncTo(i, k.i32)), k.laneIds());
            Value counts = k.cmp(Cmp::NE, ids, wideIndex);
            if (mask)
              counts = k.andi(counts, mask);
            Value below = k.sub(wideMax, z), p = emitExp(k, k.neg(below));
            p = k.select(counts, p, k.vcf(0));
            if (!entropy)
              return Values{k.add(c[0], p)};
            // 0 * inf is no information lost.
            Value term = k.select(k.cmp(Cmp::EQ, p, k.vcf(0)), k.vcf(0),
                                  k.mul(below, p));
            return Values{k.add(c[0], p), k.add(c[1], term)};
          });
      Value rest = sums[0];
      if (op.getKind() == Criterion::MaxProb) {
        score = k.neg(emitLog(k, rest));
      } else if (op.getKind() == Criterion::Margin) {
        Value next = emitExp(k, k.sub(peak.second, peak.max));
        Value gap = k.sub(k.cf(1), next);
        score = k.sub(emitLog(k, gap), emitLog(k, k.add(rest, next)));
      } else {
        Value h =
            k.add(emitLog1p(k, rest), k.div(sums[1], k.add(rest, k.cf(1))));
        Value u = k.div(h, k.cf(float(std::log(double(width)))));
        Value sure = k.sub(k.cf(1), u);
        sure = k.select(k.cmp(Cmp::LT, sure, k.cf(0)), k.cf(0), sure);
        score = k.sub(emitLog(k, sure), emitLog(k, u));
      }
    }
    k.store(score, k.address(e.context.buffer(op.getScore()), row));
  });
  return success();
}

LogicalResult adaptive::kernels::emitProbe(ProbeOp op, const Emitter &e) {
  int64_t width = widthOf(op.getInput().getType());
  FailureOr<WeightRef> weight = plainWeight(op, e, op.getWeight());
  FailureOr<WeightRef> bias = plainWeight(op, e, op.getBias());
  if (failed(weight) || failed(bias))
    return failure();
  e.rows(op.getLoc(), width * 4, [&](Kernel &k, Value row) {
    Value x = k.address(e.context.buffer(op.getInput()), row),
          w = k.weight(*weight);
    Values sum = k.sumRow(width, 1, [&](Value i, Value mask, ValueRange c) {
      return Values{k.fma(k.load(k.vf32, k.at(x, i, 4), mask),
                          k.load(k.vf32, k.at(w, i, 4), mask), c[0])};
    });
    Value score = k.add(sum[0], k.load(k.f32, k.weight(*bias)));
    k.store(score, k.address(e.context.buffer(op.getScore()), row));
  });
  return success();
}

/// With u = a/|a|, v = b/|b|: 1 + cos = |u + v|^2 / 2 and 1 - cos = |u - v|^2 /
/// 2, both without cancellation. A zero row has cosine 0 with any other.
LogicalResult adaptive::kernels::emitCosine(CosineOp op, const Emitter &e) {
  int64_t width = widthOf(op.getState().getType());
  e.rows(op.getLoc(), width * 16, [&](Kernel &k, Value row) {
    Value a = k.address(e.context.buffer(op.getPrevious()), row);
    Value b = k.address(e.context.buffer(op.getState()), row);
    auto element = [&](Value base, Value i, Value mask) {
      return k.load(k.vf32, k.at(base, i, 4), mask);
    };
    Values squares = k.sumRow(width, 2, [&](Value i, Value mask, ValueRange c) {
      Value x = element(a, i, mask), y = element(b, i, mask);
      return Values{k.fma(x, x, c[0]), k.fma(y, y, c[1])};
    });
    auto inverse = [&](Value sum) {
      Value norm = k.sqrt(sum);
      Value zero = k.cmp(Cmp::EQ, norm, k.cf(0));
      return k.splat(k.select(zero, k.cf(0), k.div(k.cf(1), norm)));
    };
    Value ia = inverse(squares[0]), ib = inverse(squares[1]);
    Values sums = k.sumRow(width, 2, [&](Value i, Value mask, ValueRange c) {
      Value u = k.mul(element(a, i, mask), ia),
            v = k.mul(element(b, i, mask), ib);
      Value plus = k.add(u, v), minus = k.sub(u, v);
      return Values{k.fma(plus, plus, c[0]), k.fma(minus, minus, c[1])};
    });
    Value plus = sums[0], minus = sums[1];
    Value score = k.sub(emitLog(k, plus), emitLog(k, minus));
    score = k.select(k.cmp(Cmp::EQ, plus, minus), k.cf(0), score);
    k.store(score, k.address(e.context.buffer(op.getScore()), row));
  });
  return success();
}

LogicalResult adaptive::kernels::emitDecide(DecideOp op, const Emitter &e) {
  int64_t index = op.getIndex();
  e.rows(op.getLoc(), 256, [&](Kernel &k, Value row) {
    Value score =
        k.load(k.f32, k.address(e.context.buffer(op.getScore()), row));
    Value record =
        k.record(offsetof(ee_stage_args, policies),
                 k.sext(k.column(offsetof(ee_rows, policy), row), k.i64),
                 sizeof(ee_policy));
    auto policy = [&](size_t offset, Type type) {
      return k.load(type, k.at(record, int64_t(offset)));
    };
    auto bit = [&](Value word, Value mask) {
      return k.cmp(Cmp::NE, k.andi(word, mask), k.c32(0));
    };
    auto offset32 = [&](int64_t value) {
      return k.truncTo(k.offset(value), k.i32);
    };
    Value depth = offset32(op.getDepth());
    Value position = k.column(offsetof(ee_rows, position), row);
    Value decayScale = policy(offsetof(ee_policy, decay_scale), k.f32);
    Value decayRate = policy(offsetof(ee_policy, decay_rate), k.f32);
    Value decay = k.mul(
        decayScale, emitExp(k, k.neg(k.mul(decayRate, k.sitofp(position)))));
    // No decay means none, also where the exponential overflows.
    decay = k.select(k.cmp(Cmp::EQ, decayScale, k.cf(0)), k.cf(0), decay);
    Value threshold =
        k.add(k.load(k.f32, k.at(k.at(record, offsetof(ee_policy, threshold)),
                                 k.offset(index), 4)),
              decay);

    Value sure = k.cmp(Cmp::GE, score, threshold);
    Value deep =
        k.cmp(Cmp::GE, depth, policy(offsetof(ee_policy, max_depth), k.i32));
    Value leave = k.ori(sure, deep);
    leave = k.andi(leave, k.cmp(Cmp::GE, depth,
                                policy(offsetof(ee_policy, min_depth), k.i32)));
    leave =
        k.andi(leave, bit(policy(offsetof(ee_policy, criterion_mask), k.i32),
                          offset32(int64_t(1) << index)));
    leave = k.andi(leave, k.cmp(Cmp::EQ,
                                policy(offsetof(ee_policy, force_full), k.i32),
                                k.c32(0)));
    leave = k.andi(leave, bit(k.column(offsetof(ee_rows, flags), row),
                              k.c32(EE_ROW_EXIT_ENABLED)));
    Value script = k.column(offsetof(ee_rows, script), row);
    leave = k.andi(leave, k.cmp(Cmp::EQ, script, k.c32(EE_SCRIPT_NONE)));
    leave = k.ori(leave, k.cmp(Cmp::EQ, script, offset32(index)));
    k.store(k.zext(leave, k.i32),
            k.address(e.context.buffer(op.getDecision()), row));
  });
  return success();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Draws a token from logits without sorting. The definition, step by step; the
// unit test holds the same in scalar C++.
//
//  0. NaN logits count as -inf. m is the largest logit; temperature <= 0 gives
//     the first id that holds it, and so do logits that are all -inf.
//  1. Weight e(i) = exp((z(i) - m) / T), 1 where z(i) = m.
//  2. Ids are ordered by logit; the kept ids are those above a cut logit and,
//  of
//     those equal to it, the first c by id. top_k: the cut is the k-th largest.
//  3. top_p, if below 1: the largest cut whose kept weight reaches top_p times
//     the weight kept so far. Ties at the cut: the least c that reaches it.
//     Sums over ids are in the order of Kernel::sumRow.
//  4. min_p: of the kept ids, those with e(i) >= min_p.
//  5. u is a 24-bit uniform of Philox4x32-10 with key `seed` and counter
//     (position, 0, 0, 0), the target u times the weight of the kept ids. The
//     token is found in three steps, each of which counts from what lies before
//     the part it is in: the first block of 1,024 ids whose running weight
//     exceeds the target, in it the first 16 ids (summed by the tree of
//     Kernel::reduceAdd), of these the first id. Should rounding leave no such
//     part, it is the last one that keeps an id.

#include "Emit.h"
#include "ee/abi.h"

#include <limits>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

static constexpr float inf = std::numeric_limits<float>::infinity();

namespace {

class SampleEmitter {
public:
  SampleEmitter(Kernel &k, int64_t width)
      : k(k), padded(align64(width * 4) / 4), width(width) {}

  Value emit(Value logits, Value sampler, Value position);

  Kernel &k;
  int64_t padded; ///< ids per scratch array

private:
  Value draw(Value logits, Value max, Value sampler, Value position);
  void prepare(Value logits, Value max, Value temperature);
  Values overIds(ValueRange init, function_ref<Values(Value, ValueRange)> body);
  Value keysAt(Value i) { return k.load(k.vi32, k.at(keys, i, 4)); }
  Value weightsAt(Value i) { return k.load(k.vf32, k.at(weights, i, 4)); }
  Value countWhere(function_ref<Value(Value)> condition);
  Value massWhere(function_ref<Value(Value)> condition);
  Value sumIds(function_ref<Value(Value)> weight);
  Value pick(Value target, function_ref<Value(Value)> kept);
  /// The first multiple of the lanes behind all ids.
  int64_t ends() const { return (width + lanes - 1) / lanes * lanes; }
  Value weightAtKey(Value key);
  Value lastTie(Value key, Value count);
  Value uniform(Value seed, Value position);

  int64_t width;
  Value keys, weights;
};

} // namespace

/// Loops over blocks of 16 ids; scratch arrays are padded with key 0, weight 0.
Values SampleEmitter::overIds(ValueRange init,
                              function_ref<Values(Value, ValueRange)> body) {
  return k.loop(k.c64(0), k.c64(ends()), lanes, init, body);
}

/// Fills the scratch arrays: keys order like logits as unsigned integers.
void SampleEmitter::prepare(Value logits, Value max, Value temperature) {
  Value inverse = k.splat(k.div(k.cf(1), temperature)), wideMax = k.splat(max);
  k.forLanes(width, [&](Value i, Value mask) {
    Value z = k.load(k.vf32, k.at(logits, i, 4), mask);
    z = k.select(k.isNaN(z), k.vcf(-inf), k.add(z, k.vcf(0)));
    Value top = k.cmp(Cmp::EQ, z, wideMax);
    Value w = emitExp(k, k.mul(k.sub(z, wideMax), inverse));
    w = k.select(top, k.vcf(1), w);
    w = k.select(k.cmp(Cmp::EQ, z, k.vcf(-inf)), k.vcf(0), w);
    Value bits = k.bitcast(z, k.vi32);
    Value key = k.xori(bits, k.ori(k.ashr(bits, 31),
                                   k.vci(std::numeric_limits<int32_t>::min())));
    if (mask) {
      w = k.select(mask, w, k.vcf(0));
      key = k.select(mask, key, k.vci(0));
    }
    k.store(w, k.at(weights, i, 4));
    k.store(key, k.at(keys, i, 4));
  });
}

Value SampleEmitter::countWhere(function_ref<Value(Value)> condition) {
  return overIds(k.c32(0), [&](Value i, ValueRange c) {
    return Values{k.add(c[0], k.popcount(condition(keysAt(i))))};
  })[0];
}

Value SampleEmitter::massWhere(function_ref<Value(Value)> condition) {
  return sumIds([&](Value i) {
    return k.select(condition(keysAt(i)), weightsAt(i), k.vcf(0));
  });
}

/// Sum of a wide value over all ids.
Value SampleEmitter::sumIds(function_ref<Value(Value)> weight) {
  return k.sumRow(ends(), 1, [&](Value i, Value, ValueRange c) {
    return Values{k.add(c[0], weight(i))};
  })[0];
}

/// Weight of the ids with this key (all have the same).
Value SampleEmitter::weightAtKey(Value key) {
  Value wide = k.splat(key);
  return k.reduceMax(overIds(k.vcf(0), [&](Value i, ValueRange c) {
    Value w = k.select(k.cmp(Cmp::EQ, keysAt(i), wide), weightsAt(i), k.vcf(0));
    return Values{k.maxF(w, c[0])};
  })[0]);
}

/// The count-th id (from 1) with this key, -1 for a count of 0.
Value SampleEmitter::lastTie(Value key, Value count) {
  Value wide = k.splat(key);
  auto scan = [&] {
    Values block = overIds({k.c32(0), k.c32(0), k.c64(0)}, [&](Value i,
                                                               ValueRange c) {
      Value after = k.add(c[0], k.popcount(k.cmp(Cmp::EQ, keysAt(i), wide)));
      Value here =
          k.andi(k.cmp(Cmp::LT, c[0], count), k.cmp(Cmp::GE, after, count));
      return Values{after, k.select(here, c[0], c[1]), k.select(here, i, c[2])};
    });
    Value to = k.add(block[2], lanes);
    return Values{k.loop(
        block[2], to, 1, {block[1], k.c32(-1)}, [&](Value i, ValueRange c) {
          Value tie = k.cmp(Cmp::EQ, k.load(k.i32, k.at(keys, i, 4)), key);
          Value seen = k.add(c[0], k.zext(tie, k.i32));
          Value here = k.andi(tie, k.cmp(Cmp::EQ, seen, count));
          return Values{seen, k.select(here, k.truncTo(i, k.i32), c[1])};
        })[1]};
  };
  return k.ifElse(k.cmp(Cmp::GT, count, k.c32(0)), scan,
                  [&] { return Values{k.c32(-1)}; })[0];
}

/// Philox4x32-10, first word, upper 24 bits.
Value SampleEmitter::uniform(Value seed, Value position) {
  Value key0 = k.truncTo(seed, k.i32),
        key1 = k.truncTo(k.lshr(seed, 32), k.i32);
  Values c = {position, k.c32(0), k.c32(0), k.c32(0)};
  auto wideProduct = [&](Value x, uint32_t factor) {
    Value product = k.mul(k.zext(x, k.i64), int64_t(factor));
    return std::pair(k.truncTo(k.lshr(product, 32), k.i32),
                     k.truncTo(product, k.i32));
  };
  for (int round = 0; round < 10; ++round) {
    auto [high0, low0] = wideProduct(c[0], 0xD2511F53u);
    auto [high1, low1] = wideProduct(c[2], 0xCD9E8D57u);
    c = {k.xori(k.xori(high1, c[1]), key0), low1,
         k.xori(k.xori(high0, c[3]), key1), low0};
    key0 = k.add(key0, k.c32(int32_t(0x9E3779B9u)));
    key1 = k.add(key1, k.c32(int32_t(0xBB67AE85u)));
  }
  return k.mul(k.sitofp(k.lshr(c[0], 8)), k.cf(0x1p-24f));
}

Value SampleEmitter::draw(Value logits, Value max, Value sampler,
                          Value position) {
  auto parameter = [&](size_t offset, Type type) {
    return k.load(type, k.at(sampler, int64_t(offset)));
  };
  keys = k.workerScratch();
  weights = k.at(keys, padded * 4);
  prepare(logits, max, parameter(offsetof(ee_sampler, temperature), k.f32));
  Value all = k.c32(int32_t(width));

  // The cut and how many of its ids count, after top_k. A cut of 0 with no ties
  // keeps everything: real keys are never 0.
  Value topK = parameter(offsetof(ee_sampler, top_k), k.i32);
  Value limits =
      k.andi(k.cmp(Cmp::GT, topK, k.c32(0)), k.cmp(Cmp::LT, topK, all));
  // The largest value whose property holds, bit by bit from the top.
  auto bisect = [&](function_ref<Value(Value)> holds) {
    Value top = k.c32(std::numeric_limits<int32_t>::min());
    return k.loop(k.c32(0), k.c32(32), 1, {k.c32(0), top},
                  [&](Value, ValueRange c) {
                    Value candidate = k.ori(c[0], c[1]);
                    return Values{k.select(holds(candidate), candidate, c[0]),
                                  k.lshr(c[1], 1)};
                  })[0];
  };
  auto atLeast = [&](Value cut) {
    return [this, wide = k.splat(cut)](Value key) { return k.uge(key, wide); };
  };
  auto above = [&](Value cut) {
    return [this, wide = k.splat(cut)](Value key) { return k.ugt(key, wide); };
  };
  Values cut = k.ifElse(
      limits,
      [&] {
        Value t = bisect([&](Value candidate) {
          return k.cmp(Cmp::GE, countWhere(atLeast(candidate)), topK);
        });
        return Values{t, k.sub(topK, countWhere(above(t)))};
      },
      [&] { return Values{k.c32(0), k.c32(0)}; });

  Value topP = parameter(offsetof(ee_sampler, top_p), k.f32);
  cut = k.ifElse(
      k.cmp(Cmp::LT, topP, k.cf(1)),
      [&] {
        Value total = k.fma(k.sitofp(cut[1]), weightAtKey(cut[0]),
                            massWhere(above(cut[0])));
        Value target = k.mul(topP, total);
        Value t = bisect([&](Value candidate) {
          // Below the first cut everything kept so far counts, which reaches
          // it.
          Value enough = k.cmp(Cmp::GE, massWhere(atLeast(candidate)), target);
          return k.ori(k.ule(candidate, cut[0]), enough);
        });
        Value wide = k.splat(t);
        Value ties =
            countWhere([&](Value key) { return k.cmp(Cmp::EQ, key, wide); });
        ties = k.select(k.cmp(Cmp::EQ, t, cut[0]), cut[1], ties);
        Value missing = k.sub(target, massWhere(above(t)));
        Value need = k.div(missing, weightAtKey(t));
        // Also sorts out the NaN of 0 / 0.
        need = k.select(k.cmp(Cmp::GT, need, k.cf(1)), need, k.cf(1));
        Value most = k.sitofp(ties);
        need = k.select(k.cmp(Cmp::LT, need, most), need, most);
        Value whole = k.fptosi32(need);
        Value up = k.zext(k.cmp(Cmp::LT, k.sitofp(whole), need), k.i32);
        return Values{t, k.add(whole, up)};
      },
      [&] { return cut; });

  Value lastId = k.splat(lastTie(cut[0], cut[1])), wideCut = k.splat(cut[0]);
  Value minP = k.splat(parameter(offsetof(ee_sampler, min_p), k.f32));
  auto kept = [&](Value i) {
    Value key = keysAt(i), w = weightsAt(i);
    Value ids = k.add(k.splat(k.truncTo(i, k.i32)), k.laneIds());
    Value ties =
        k.andi(k.cmp(Cmp::EQ, key, wideCut), k.cmp(Cmp::LE, ids, lastId));
    Value keep =
        k.andi(k.ori(k.ugt(key, wideCut), ties), k.cmp(Cmp::GE, w, minP));
    return k.select(keep, w, k.vcf(0));
  };
  Value seed = parameter(offsetof(ee_sampler, seed), k.i64);
  return pick(k.mul(uniform(seed, position), sumIds(kept)), kept);
}

/// Step 5 of the definition.
Value SampleEmitter::pick(Value target, function_ref<Value(Value)> kept) {
  // The part of [from, to) in which the weight running from `before` passes the
  // target, and the weight before it.
  auto find = [&](Value from, Value to, int64_t step, Value before,
                  function_ref<Value(Value)> weight) {
    Value none = k.c64(-1);
    Values c = k.loop(from, to, step, {before, none, before, from, before},
                      [&](Value i, ValueRange c) {
                        Value mine = weight(i), after = k.add(c[0], mine);
                        Value here = k.andi(k.cmp(Cmp::GT, after, target),
                                            k.cmp(Cmp::LT, c[1], k.c64(0)));
                        Value live = k.cmp(Cmp::GT, mine, k.cf(0));
                        return Values{after, k.select(here, i, c[1]),
                                      k.select(here, c[0], c[2]),
                                      k.select(live, i, c[3]),
                                      k.select(live, c[0], c[4])};
                      });
    Value found = k.cmp(Cmp::GE, c[1], k.c64(0));
    return std::pair(k.select(found, c[1], c[3]), k.select(found, c[2], c[4]));
  };
  auto blockEnd = [&](Value from) {
    return k.minS(k.add(from, rowBlock), k.c64(ends()));
  };
  auto [block, beforeBlock] =
      find(k.c64(0), k.c64(ends()), rowBlock, k.cf(0), [&](Value from) {
        Values chains = k.loop(from, blockEnd(from), lanes, k.vcf(0),
                               [&](Value i, ValueRange c) {
                                 return Values{k.add(c[0], kept(i))};
                               });
        return k.reduceAdd(chains[0]);
      });
  auto [first, before] = find(block, blockEnd(block), lanes, beforeBlock,
                              [&](Value i) { return k.reduceAdd(kept(i)); });
  Value w = kept(first), running = before, picked = k.c32(-1), last = k.c32(0);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    Value mine = k.extract(w, lane), id = k.add(k.truncTo(first, k.i32), lane);
    running = k.add(running, mine);
    Value live = k.cmp(Cmp::GT, mine, k.cf(0));
    Value passes = k.andi(live, k.cmp(Cmp::GT, running, target));
    picked =
        k.select(k.andi(passes, k.cmp(Cmp::LT, picked, k.c32(0))), id, picked);
    last = k.select(live, id, last);
  }
  return k.select(k.cmp(Cmp::LT, picked, k.c32(0)), last, picked);
}

Value SampleEmitter::emit(Value logits, Value sampler, Value position) {
  Values found = k.forLanes(
      width, {k.vcf(-inf), k.vci(0)}, [&](Value i, Value mask, ValueRange c) {
        Value z = k.load(k.vf32, k.at(logits, i, 4), mask);
        if (mask)
          z = k.select(mask, z, k.vcf(-inf));
        Value ids = k.add(k.splat(k.truncTo(i, k.i32)), k.laneIds());
        Value above = k.cmp(Cmp::GT, z, c[0]);
        return Values{k.select(above, z, c[0]), k.select(above, ids, c[1])};
      });
  Value max = k.reduceMax(found[0]);
  Value holds = k.cmp(Cmp::EQ, found[0], k.splat(max));
  Value ids =
      k.select(holds, found[1], k.vci(std::numeric_limits<int32_t>::max()));
  Value best = k.sub(k.c32(-1), k.reduceMax(k.sub(k.vci(-1), ids)));
  best = k.select(k.cmp(Cmp::EQ, max, k.cf(-inf)), k.c32(0), best);
  Value temperature =
      k.load(k.f32, k.at(sampler, offsetof(ee_sampler, temperature)));
  Value random = k.andi(k.cmp(Cmp::GT, temperature, k.cf(0)),
                        k.cmp(Cmp::NE, max, k.cf(-inf)));
  return k.ifElse(
      random, [&] { return Values{draw(logits, max, sampler, position)}; },
      [&] { return Values{best}; })[0];
}

KernelNeeds adaptive::kernels::sampleNeeds(SampleOp op) {
  return {0, 2 * align64(widthOf(op.getLogits().getType()) * 4)};
}

LogicalResult adaptive::kernels::emitSample(SampleOp op, const Emitter &e) {
  int64_t width = widthOf(op.getLogits().getType());
  e.rows(op.getLoc(), 32 << 10, [&](Kernel &k, Value row) {
    Value sequence = k.sext(k.column(offsetof(ee_rows, sequence), row), k.i64);
    Value sampler = k.record(offsetof(ee_stage_args, samplers), sequence,
                             sizeof(ee_sampler));
    Value logits = k.address(e.context.buffer(op.getLogits()), row);
    Value position = k.column(offsetof(ee_rows, position), row);
    Value token = SampleEmitter(k, width).emit(logits, sampler, position);
    k.store(token, k.address(e.context.buffer(op.getResult()), row));
  });
  return success();
}

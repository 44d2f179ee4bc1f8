// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels that act on each element or each group of a row: map, select, norm.

#include "Emit.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

LogicalResult adaptive::kernels::emitMap(MapOp op, const Emitter &e) {
  int64_t width = widthOf(op.getType());
  for (Value input : op.getInputs())
    if (isStatic(input.getType()) && failed(plainWeight(op, e, input)))
      return failure();
  LogicalResult result = success();
  e.rows(op.getLoc(), width * 8, [&](Kernel &k, Value row) {
    Values bases;
    for (Value input : op.getInputs())
      bases.push_back(isStatic(input.getType())
                          ? k.weight(e.context.weight(input))
                          : k.address(e.context.buffer(input), row));
    Value out = k.address(e.context.buffer(op.getResult()), row);
    k.forLanes(width, [&](Value i, Value mask) {
      Values arguments;
      for (Value base : bases)
        arguments.push_back(k.load(k.vf32, k.at(base, i, 4), mask));
      FailureOr<Value> value = emitRegion(k, op.getBody(), arguments);
      if (failed(value)) {
        result = failure();
        return;
      }
      k.store(*value, k.at(out, i, 4), mask);
    });
  });
  return result;
}

LogicalResult adaptive::kernels::emitSelect(SelectOp op, const Emitter &e) {
  int64_t width = widthOf(op.getType());
  e.rows(op.getLoc(), width * 8, [&](Kernel &k, Value row) {
    Value mask = k.load(k.i32, k.address(e.context.buffer(op.getMask()), row));
    Value yes = k.address(e.context.buffer(op.getTrueValue()), row);
    Value no = k.address(e.context.buffer(op.getFalseValue()), row);
    Value from = k.select(k.cmp(Cmp::NE, mask, k.c32(0)), yes, no);
    Value to = k.address(e.context.buffer(op.getResult()), row);
    k.forLanes(width, [&](Value i, Value tail) {
      k.store(k.load(k.vf32, k.at(from, i, 4), tail), k.at(to, i, 4), tail);
    });
  });
  return success();
}

LogicalResult adaptive::kernels::emitNorm(NormOp op, const Emitter &e) {
  int64_t width = widthOf(op.getType()),
          group = widthOf(op.getScale().getType());
  bool layer = op.getKind() == NormKind::Layer;
  FailureOr<WeightRef> scaleRef = plainWeight(op, e, op.getScale());
  FailureOr<WeightRef> biasRef = WeightRef();
  if (op.getBias())
    biasRef = plainWeight(op, e, op.getBias());
  if (failed(scaleRef) || failed(biasRef))
    return failure();
  float epsilon = float(op.getEpsilon().convertToDouble());

  e.rows(op.getLoc(), width * 12, [&](Kernel &k, Value row) {
    Value x = k.address(e.context.buffer(op.getInput()), row);
    Value y = k.address(e.context.buffer(op.getResult()), row);
    Value scale = k.weight(*scaleRef);
    Value bias = op.getBias() ? k.weight(*biasRef) : Value();
    Value count = k.cf(float(group));
    k.loop(k.c64(0), k.c64(width / group), 1, [&](Value g) {
      Value in = k.at(x, g, group * 4), out = k.at(y, g, group * 4);
      auto element = [&](Value i, Value mask) {
        return k.load(k.vf32, k.at(in, i, 4), mask);
      };
      Value mean;
      if (layer) {
        Values sum = k.sumRow(group, 1, [&](Value i, Value mask, ValueRange c) {
          return Values{k.add(c[0], element(i, mask))};
        });
        mean = k.splat(k.div(sum[0], count));
      }
      auto centred = [&](Value i, Value mask) {
        Value v = element(i, mask);
        if (mean)
          v = k.sub(v, mean);
        return mask && mean ? k.select(mask, v, k.vcf(0)) : v;
      };
      Values squares =
          k.sumRow(group, 1, [&](Value i, Value mask, ValueRange c) {
            Value v = centred(i, mask);
            return Values{k.fma(v, v, c[0])};
          });
      Value variance = k.div(squares[0], count);
      Value inverse =
          k.splat(k.div(k.cf(1), k.sqrt(k.add(variance, k.cf(epsilon)))));
      k.forLanes(group, [&](Value i, Value mask) {
        Value s = k.load(k.vf32, k.at(scale, i, 4), mask);
        Value v = k.mul(k.mul(centred(i, mask), inverse), s);
        if (bias)
          v = k.add(v, k.load(k.vf32, k.at(bias, i, 4), mask));
        k.store(v, k.at(out, i, 4), mask);
      });
    });
  });
  return success();
}

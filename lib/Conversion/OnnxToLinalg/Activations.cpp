// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Activation functions, element by element.

#include "Scalars.h"

#include <cmath>
#include <numbers>

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

Value tl::sigmoid(Emitter &e, Value x) {
  Value one = tl::like(e, x, 1);
  Value power = e.op<math::ExpOp>(e.op<arith::NegFOp>(x));
  return e.op<arith::DivFOp>(one, tl::add(e, one, power));
}

namespace {

/// Writes the body in plain formulas.
struct Formula {
  Node &n;
  Value x;

  Value c(double value) { return tl::like(n, x, value); }
  Value plus(Value a, Value b) { return tl::add(n, a, b); }
  Value minus(Value a, Value b) { return tl::sub(n, a, b); }
  Value times(Value a, Value b) { return tl::mul(n, a, b); }
  Value exp(Value a) { return n.op<math::ExpOp>(a); }
  Value over(Value a, Value b) { return n.op<arith::DivFOp>(a, b); }
  Value clamp01(Value a) {
    Value low = n.op<arith::MaximumFOp>(a, c(0));
    return n.op<arith::MinimumFOp>(low, c(1));
  }
  Value ifLess(Value a, double limit, Value then, Value otherwise) {
    Value less = tl::compare(n, Order::Less, a, c(limit), n.in(0).element);
    return tl::select(n, less, then, otherwise);
  }
  Value ifGreater(Value a, double limit, Value then, Value otherwise) {
    Value greater =
        tl::compare(n, Order::Greater, a, c(limit), n.in(0).element);
    return tl::select(n, greater, then, otherwise);
  }
  /// log(1 + exp(x)) that does not overflow.
  Value softplus() {
    Value tail =
        n.op<math::Log1pOp>(exp(n.op<arith::NegFOp>(n.op<math::AbsFOp>(x))));
    return plus(n.op<arith::MaximumFOp>(x, c(0)), tail);
  }
};

template <auto formula, bool anyType = false>
LogicalResult activation(Node &n) {
  Type element = n.in(0).element;
  if (!anyType && !isa<FloatType>(element))
    return n.error(n.carrier.getOpType() + " needs a float operand");
  return n.done(n.compute(n.in(0), element, [&](ArrayRef<Value> a) {
    return formula(Formula{n, a[0]});
  }));
}

Value relu(Formula f) {
  return tl::maximum(f.n, f.x, f.c(0), f.n.in(0).element);
}
Value leakyRelu(Formula f) {
  return f.ifLess(f.x, 0, f.times(f.x, f.c(f.n.floatAttr("alpha", 0.01f))),
                  f.x);
}
Value elu(Formula f) {
  Value curve =
      f.times(f.c(f.n.floatAttr("alpha", 1)), f.minus(f.exp(f.x), f.c(1)));
  return f.ifLess(f.x, 0, curve, f.x);
}
Value selu(Formula f) {
  double alpha = f.n.floatAttr("alpha", 1.67326319217681884765625);
  double gamma = f.n.floatAttr("gamma", 1.05070102214813232421875);
  Value curve = f.minus(f.times(f.c(alpha), f.exp(f.x)), f.c(alpha));
  return f.times(f.c(gamma), f.ifGreater(f.x, 0, f.x, curve));
}
Value celu(Formula f) {
  Value alpha = f.c(f.n.floatAttr("alpha", 1));
  Value curve = f.times(alpha, f.minus(f.exp(f.over(f.x, alpha)), f.c(1)));
  return f.ifLess(f.x, 0, curve, f.x);
}
Value hardSigmoid(Formula f) {
  Value line = f.plus(f.times(f.c(f.n.floatAttr("alpha", 0.2f)), f.x),
                      f.c(f.n.floatAttr("beta", 0.5)));
  return f.clamp01(line);
}
Value hardSwish(Formula f) {
  return f.times(f.x, f.clamp01(f.plus(f.over(f.x, f.c(6)), f.c(0.5))));
}
Value softsign(Formula f) {
  return f.over(f.x, f.plus(f.c(1), f.n.op<math::AbsFOp>(f.x)));
}
Value mish(Formula f) {
  return f.times(f.x, f.n.op<math::TanhOp>(f.softplus()));
}
Value swish(Formula f) {
  return f.times(
      f.x, tl::sigmoid(f.n, f.times(f.c(f.n.floatAttr("alpha", 1)), f.x)));
}
Value thresholdedRelu(Formula f) {
  return f.ifGreater(f.x, f.n.floatAttr("alpha", 1), f.x, f.c(0));
}
Value shrink(Formula f) {
  double lambda = f.n.floatAttr("lambd", 0.5);
  Value bias = f.c(f.n.floatAttr("bias", 0));
  Value right = f.ifGreater(f.x, lambda, f.minus(f.x, bias), f.c(0));
  return f.ifLess(f.x, -lambda, f.plus(f.x, bias), right);
}
Value gelu(Formula f) {
  Value half = f.times(f.c(0.5), f.x);
  if (f.n.stringAttr("approximate", "none") != "tanh") {
    Value scaled = f.times(f.x, f.c(std::numbers::sqrt2 / 2));
    return f.times(half, f.plus(f.c(1), f.n.op<math::ErfOp>(scaled)));
  }
  Value cube = f.times(f.x, f.times(f.x, f.x));
  Value inner = f.times(f.c(std::sqrt(2 / std::numbers::pi)),
                        f.plus(f.x, f.times(f.c(0.044715), cube)));
  return f.times(half, f.plus(f.c(1), f.n.op<math::TanhOp>(inner)));
}

LogicalResult lowerPRelu(Node &n) {
  Type element = n.in(0).element;
  return n.done(n.compute(n.inputs, element, [&](ArrayRef<Value> a) {
    Value isNegative =
        tl::compare(n, Order::Less, a[0], tl::like(n, a[0], 0), element);
    return tl::select(n, isNegative, tl::mul(n, a[0], a[1]), a[0]);
  }));
}

/// At inference nothing is dropped.
LogicalResult lowerDropout(Node &n) {
  if (n.has(2)) {
    Value training = n.single(n.in(2), "training_mode");
    n.require(n.op<arith::XOrIOp>(training, n.integer(n.b.getI1Type(), 1)),
              "Dropout in training mode is not supported");
  }
  if (n.wants(1))
    n.out(1, n.fill(n.in(0).sizes, n.b.getI1Type(),
                    n.integer(n.b.getI1Type(), 1)));
  return n.done(n.in(0));
}

} // namespace

void tl::addActivations(Registry &r) {
  r.family = "Activations";
  r.add("Relu", 1, activation<relu, true>);
  r.add("LeakyRelu", 1, activation<leakyRelu>);
  r.add("PRelu", 2, lowerPRelu);
  r.add("Elu", 1, activation<elu>);
  r.add("Selu", 1, activation<selu>);
  r.add("Celu", 1, activation<celu>);
  r.add("HardSigmoid", 1, activation<hardSigmoid>);
  r.add("HardSwish", 1, activation<hardSwish>);
  r.add("Sigmoid", 1,
        activation<[](Formula f) { return tl::sigmoid(f.n, f.x); }>);
  r.add("Softplus", 1, activation<[](Formula f) { return f.softplus(); }>);
  r.add("Softsign", 1, activation<softsign>);
  r.add("Tanh", 1,
        activation<[](Formula f) { return f.n.op<math::TanhOp>(f.x); }>);
  r.add("Mish", 1, activation<mish>);
  r.add("Swish", 1, activation<swish>);
  r.add("ThresholdedRelu", 1, activation<thresholdedRelu>);
  r.add("Shrink", 1, activation<shrink, true>);
  r.add("Gelu", 1, activation<gelu>);
  r.add("Dropout", 1, lowerDropout, "training mode: refused");
}

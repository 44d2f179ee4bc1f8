// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Access to a node's operands and attributes; the table of operators.

#include "Node.h"

#include "AdaptiveDialect/Conversion/OnnxToLinalg.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::tolinalg;

Node::Node(ImplicitLocOpBuilder &b, std::string name, NodeOp carrier,
           Lowerer &lowerer)
    : Emitter(b, std::move(name)), carrier(carrier), lowerer(lowerer),
      results(carrier.getNumResults()) {}

bool Node::isNamed(unsigned i) {
  if (!carrier.getResult(i).use_empty())
    return true;
  auto names = carrier->getAttrOfType<ArrayAttr>("onnx.names");
  auto name =
      names && i < names.size() ? dyn_cast<StringAttr>(names[i]) : nullptr;
  return name && !name.getValue().empty();
}

std::optional<int64_t> Node::axis(int64_t axis, int64_t rank) {
  int64_t result = axis < 0 ? axis + rank : axis;
  if (result >= 0 && result < rank)
    return result;
  (void)error("axis must lie in [" + Twine(-rank) + ", " + Twine(rank) +
              "), but got " + Twine(axis));
  return std::nullopt;
}

std::optional<std::optional<SmallVector<int64_t>>>
Node::constantInts(unsigned i, StringRef name) {
  if (!has(i))
    return intsAttr(name);
  if (auto known = constantElements(in(i)))
    return known;
  (void)error(name + " must be constant");
  return std::nullopt;
}

Type Node::elementType(int64_t dataType) {
  auto unsignedType = [&](unsigned bits) {
    return IntegerType::get(b.getContext(), bits, IntegerType::Unsigned);
  };
  switch (dataType) {
  case 1:
    return b.getF32Type();
  case 2:
    return unsignedType(8);
  case 3:
    return b.getI8Type();
  case 4:
    return unsignedType(16);
  case 5:
    return b.getI16Type();
  case 6:
    return b.getI32Type();
  case 7:
    return b.getI64Type();
  case 9:
    return b.getI1Type();
  case 10:
    return b.getF16Type();
  case 11:
    return b.getF64Type();
  case 12:
    return unsignedType(32);
  case 13:
    return unsignedType(64);
  case 16:
    return b.getBF16Type();
  default:
    (void)error("data type " + Twine(dataType) +
                " is not supported; accepted are bool, integers of 8 to 64 "
                "bits, float16, bfloat16, float and double");
    return {};
  }
}

const Registry &Registry::get() {
  static const Registry registry = [] {
    Registry r;
    addElementwise(r);
    addActivations(r);
    addMatMul(r);
    addReduce(r);
    addOrder(r);
    addNorm(r);
    addShape(r);
    addSlices(r);
    addIndexing(r);
    addScatter(r);
    addConv(r);
    addControl(r);
    addQuantize(r);
    return r;
  }();
  return registry;
}

const Operator *Registry::find(StringRef domain, StringRef name) const {
  if (!domain.empty() && domain != "ai.onnx")
    return nullptr;
  auto found = operators.find(name);
  return found == operators.end() ? nullptr : &found->second;
}

bool adaptive::hasLinalgLowering(StringRef domain, StringRef op) {
  return Registry::get().find(domain, op);
}

std::vector<LinalgOperator> adaptive::linalgOperators() {
  std::vector<LinalgOperator> result;
  for (const auto &entry : Registry::get().all())
    result.push_back({entry.second.family.str(), entry.first().str(),
                      entry.second.note.str()});
  llvm::sort(result, [](const LinalgOperator &a, const LinalgOperator &b) {
    return std::tie(a.family, a.name) < std::tie(b.family, b.name);
  });
  return result;
}

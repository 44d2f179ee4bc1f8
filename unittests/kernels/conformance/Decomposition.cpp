// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a case to a function over tensors.

#include "Decomposition.h"

#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/IR/Adaptive.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace conformance;

void conformance::die(const std::string &what) {
  std::fprintf(stderr, "conformance test: %s\n", what.c_str());
  std::exit(2);
}

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int64_t size : sizes)
    count *= size;
  return count;
}

static std::string functionText(const OpCase &op) {
  std::string text = "func.func @main(", names, types;
  bool first = true;
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    text += std::string(first ? "%" : ", %") + char('a' + i) + ": " +
            op.parameters[i].type();
    first = false;
  }
  for (size_t i = 0; i < op.results.size(); ++i) {
    names += (i ? ", %r" : " %r") + std::to_string(i);
    types += (i ? ", " : "") + op.results[i].type();
  }
  if (op.results.empty())
    return text + ") {\n" + op.text + "\nreturn\n}";
  return text + ") -> (" + types + ") {\n" + op.text + "\nreturn" + names +
         " : " + types + "\n}";
}

Decomposition::Decomposition(const OpCase &op) {
  DialectRegistry registry;
  registry.insert<adaptive::AdaptiveDialect, arith::ArithDialect,
                  func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
                  scf::SCFDialect, tensor::TensorDialect>();
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  std::string text = functionText(op);
  module = parseSourceString<ModuleOp>(text, &context);
  if (!module)
    die("cannot parse\n" + text);
  PassManager pm(&context);
  pm.addPass(adaptive::createAdaptiveToLinalg());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  if (failed(pm.run(*module)))
    die("no decomposition");
  auto function = cast<func::FuncOp>(module->getBody()->front());
  auto name = [](Attribute attribute) {
    return cast<StringAttr>(attribute).getValue().str();
  };
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (auto attribute = function.getArgAttr(i, "adaptive.column"))
      columns.push_back(name(attribute));
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    types.push_back(cast<RankedTensorType>(function.getResultTypes()[i]));
    if (auto attribute = function.getResultAttr(i, "adaptive.column"))
      changed.push_back(name(attribute));
  }
}

template <typename T> static const T *typed(const Tensor &tensor) {
  return static_cast<const T *>(tensor.data);
}

static std::vector<double> numbers(const Tensor &tensor, Type element) {
  std::vector<double> list;
  for (int64_t i = 0; i < tensor.elements(); ++i)
    list.push_back(element.isF32()        ? double(typed<float>(tensor)[i])
                   : element.isInteger(1) ? double(typed<int8_t>(tensor)[i] & 1)
                                          : double(typed<int32_t>(tensor)[i]));
  return list;
}

Outputs Decomposition::outputs(const std::vector<Tensor> &results) const {
  Outputs out;
  size_t named = types.size() - changed.size();
  for (size_t i = 0; i < types.size(); ++i) {
    auto list = numbers(results[i], types[i].getElementType());
    std::string name = i < named ? "" : changed[i - named];
    if (name == "depth")
      out.depth.assign(list.begin(), list.end());
    else if (name == "keys")
      out.keys.assign(list.begin(), list.end());
    else if (name == "values")
      out.values.assign(list.begin(), list.end());
    else
      out.results.push_back(std::move(list));
  }
  return out;
}

Arguments::Arguments(const OpCase &op, const Inputs &inputs,
                     const std::vector<std::string> &columns) {
  for (size_t i = 0; i < op.parameters.size(); ++i)
    parameter(op.parameters[i], inputs, i);
  int64_t width =
      int64_t(inputs.keys.size()) / (Inputs::sequences * Inputs::positions);
  std::vector<int64_t> dense = {Inputs::sequences, Inputs::positions, width};
  for (const std::string &name : columns) {
    if (name == "keys")
      add(inputs.keys, dense);
    else if (name == "values")
      add(inputs.values, dense);
    else if (name == "policies")
      add(inputs.policies, {int64_t(inputs.policies.size()), 64});
    else
      add(inputs.columns.at(name), {inputs.rows});
  }
}

bool Arguments::owns(const void *pointer) const {
  for (const auto &buffer : buffers)
    if (buffer.get() == pointer)
      return true;
  return false;
}

template <typename T>
void Arguments::add(const std::vector<T> &values,
                    const std::vector<int64_t> &sizes) {
  size_t bytes = values.size() * sizeof(T);
  buffers.emplace_back(new char[bytes + 64]);
  std::memcpy(buffers.back().get(), values.data(), bytes);
  list.push_back({buffers.back().get(), sizes});
}

void Arguments::parameter(const Parameter &p, const Inputs &inputs, size_t i) {
  switch (p.kind) {
  case Parameter::Rows:
    return add(inputs.floats[i], {inputs.rows, p.shape[0]});
  case Parameter::Scalars:
    return add(inputs.floats[i], {inputs.rows});
  case Parameter::Ids:
    return add(inputs.ints[i], {inputs.rows});
  case Parameter::Mask:
    return add(
        std::vector<int8_t>(inputs.ints[i].begin(), inputs.ints[i].end()),
        {inputs.rows});
  case Parameter::Weight:
    return add(inputs.floats[i], p.shape);
  case Parameter::KV:
    return; // columns of the decomposition
  }
}

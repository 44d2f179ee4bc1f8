// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads what a function takes and gives.
#include "function_fields.h"

#include "ee/file.h"
#include "ee/function.h"

#include <set>

namespace ee {

/// A dimension is a size, -1, or the name of a size that is known at run time.
static void readDimension(const Field &field, FunctionTensor &tensor) {
  if (!field.isString()) {
    tensor.shape.push_back(field.integer(-1, int64_t(1) << 40));
    tensor.dims.emplace_back();
    return;
  }
  tensor.shape.push_back(-1);
  tensor.dims.push_back(field.string(256));
  if (tensor.dims.back().empty())
    field.fail("must be a size, -1 or a name, but is empty");
}

static std::vector<FunctionTensor> readTensors(const Field &list) {
  std::vector<FunctionTensor> tensors;
  std::set<std::string> names;
  for (const Field &entry : list.items(4096)) {
    FunctionTensor tensor;
    tensor.name = entry.at("name").string(256);
    if (tensor.name.empty() || !names.insert(tensor.name).second)
      entry.at("name").fail("must be a name that no other one has, but is " +
                            inQuotes(tensor.name));
    tensor.dtype = entry.at("dtype").string(64);
    if (!dtypeBytes(tensor.dtype))
      entry.at("dtype").fail("is " + inQuotes(tensor.dtype) +
                             ", which is not a known element type");
    for (const Field &extent : entry.at("shape").items(32))
      readDimension(extent, tensor);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

FunctionFacts readFunction(const Field &function) {
  FunctionFacts facts;
  facts.name = function.at("name").string();
  facts.symbol = function.at("symbol").string(256);
  if (facts.symbol.empty())
    function.at("symbol").fail("must not be empty");
  facts.inputs = readTensors(function.at("inputs"));
  facts.outputs = readTensors(function.at("outputs"));
  if (facts.outputs.empty())
    function.at("outputs").fail("must list at least one output");
  return facts;
}

} // namespace ee

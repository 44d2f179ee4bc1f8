// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Local functions have no types of their own; a call gives them.

#include "Internal.h"

#include "onnx/shape_inference/attribute_binder.h"

using namespace onnx_border;

namespace {

/// Renames absent inputs to "", ONNX's name for a missing optional value.
void dropAbsent(onnx::GraphProto &graph,
                const std::unordered_set<std::string> &absent) {
  if (absent.empty())
    return;
  forEachGraph(graph, [&](onnx::GraphProto &inner) {
    for (auto &node : *inner.mutable_node())
      for (auto &input : *node.mutable_input())
        if (absent.count(input))
          input.clear();
  });
}

} // namespace

onnx::GraphProto onnx_border::instantiate(
    const onnx::ModelProto &model, const onnx::FunctionProto &function,
    const onnx::NodeProto &call, const std::vector<onnx::TypeProto> &types) {
  onnx::NodeProto withDefaults = call;
  for (const auto &fallback : function.attribute_proto()) {
    bool given = false;
    for (const auto &attribute : call.attribute())
      given |= attribute.name() == fallback.name();
    if (!given)
      *withDefaults.add_attribute() = fallback;
  }
  onnx::FunctionProto bound = function;
  onnx::internal::AttributeBinder::BindAttributes(withDefaults, bound);

  onnx::ModelProto temporary;
  temporary.set_ir_version(model.ir_version());
  *temporary.mutable_opset_import() = function.opset_import();
  *temporary.mutable_functions() = model.functions();
  onnx::GraphProto &graph = *temporary.mutable_graph();
  graph.set_name(function.name());
  std::unordered_set<std::string> absent;
  for (int i = 0; i < bound.input_size(); ++i) {
    bool given = i < static_cast<int>(types.size()) &&
                 types[i].value_case() != onnx::TypeProto::VALUE_NOT_SET;
    auto *input = graph.add_input();
    input->set_name(bound.input(i));
    if (given)
      *input->mutable_type() = types[i];
    else if (i >= call.input_size() || call.input(i).empty())
      absent.insert(bound.input(i));
  }
  graph.mutable_node()->Swap(bound.mutable_node());
  dropAbsent(graph, absent);
  for (const auto &output : bound.output())
    graph.add_output()->set_name(output);
  try {
    onnx::ModelProto inferred = temporary;
    inferShapes(inferred, /*strict=*/false);
    temporary = std::move(inferred);
  } catch (const std::exception &) {
    // Types that are not known stay unknown; whoever lowers the body says so.
  }
  return std::move(*temporary.mutable_graph());
}

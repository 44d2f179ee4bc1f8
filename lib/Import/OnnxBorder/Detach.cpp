// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Stands inputs of the main graph in for tensors whose data was left out, so
// that checker, converter and shape inference see their types.

#include "Internal.h"

#include <algorithm>

using namespace onnx_border;

namespace {

template <typename List, typename Predicate>
void eraseIf(List &list, Predicate predicate) {
  auto first = std::remove_if(list.begin(), list.end(), predicate);
  list.erase(first, list.end());
}

class Hoister {
public:
  Hoister(onnx::GraphProto &main, std::string_view mark)
      : main(main), mark(mark) {
    for (const auto &input : main.input())
      inputs.insert(input.name());
  }

  void run() {
    auto &initializers = *main.mutable_initializer();
    for (const auto &tensor : initializers)
      if (isDetached(tensor))
        standIn(tensor.name(), tensor);
    eraseIf(initializers,
            [&](const auto &tensor) { return isDetached(tensor); });
    for (const auto &node : main.node())
      if (const onnx::TensorProto *value = detachedConstant(node))
        standIn(node.output(0), *value);
    eraseIf(*main.mutable_node(),
            [&](const auto &node) { return detachedConstant(node); });

    for (auto &node : *main.mutable_node())
      for (auto &attribute : *node.mutable_attribute()) {
        if (attribute.has_g())
          forEachGraph(*attribute.mutable_g(),
                       [&](auto &graph) { subgraph(graph); });
        for (auto &graph : *attribute.mutable_graphs())
          forEachGraph(graph, [&](auto &inner) { subgraph(inner); });
      }
  }

  DetachedWeights weights;

private:
  bool isDetached(const onnx::TensorProto &tensor) const {
    return std::string_view(tensor.doc_string()).substr(0, mark.size()) == mark;
  }

  /// The tensor of a Constant node whose data is detached, or null.
  const onnx::TensorProto *detachedConstant(const onnx::NodeProto &node) const {
    if (node.op_type() != "Constant" || node.output_size() != 1)
      return nullptr;
    for (const auto &attribute : node.attribute())
      if (attribute.has_t() && isDetached(attribute.t()))
        return &attribute.t();
    return nullptr;
  }

  void standIn(const std::string &name, const onnx::TensorProto &tensor) {
    onnx::TensorProto entry = tensor;
    entry.set_doc_string(tensor.doc_string().substr(mark.size()));
    if (!weights.emplace(name, std::move(entry)).second)
      throw BorderError("value '" + oneLine(name) + "' is defined twice");
    // Before IR version 4 every initialiser is an input already.
    if (!inputs.insert(name).second)
      return;
    auto *input = main.add_input();
    input->set_name(name);
    auto *type = input->mutable_type()->mutable_tensor_type();
    type->set_elem_type(tensor.data_type());
    auto *shape = type->mutable_shape();
    for (int64_t dim : tensor.dims())
      shape->add_dim()->set_dim_value(dim);
  }

  /// A subgraph has no place for a stand-in, but it sees the main graph's: its
  /// name is bound again by an Identity node.
  void subgraph(onnx::GraphProto &graph) {
    onnx::GraphProto bound;
    auto bind = [&](const std::string &name, const onnx::TensorProto &tensor) {
      std::string outer =
          "adaptive.weight/" + tensor.doc_string().substr(mark.size());
      standIn(outer, tensor);
      auto *node = bound.add_node();
      node->set_op_type("Identity");
      node->set_name(name);
      node->add_input(outer);
      node->add_output(name);
    };
    auto &initializers = *graph.mutable_initializer();
    for (const auto &tensor : initializers)
      if (isDetached(tensor))
        bind(tensor.name(), tensor);
    eraseIf(initializers,
            [&](const auto &tensor) { return isDetached(tensor); });
    for (const auto &node : graph.node())
      if (const onnx::TensorProto *value = detachedConstant(node))
        bind(node.output(0), *value);
    eraseIf(*graph.mutable_node(),
            [&](const auto &node) { return detachedConstant(node); });
    if (bound.node_size() == 0)
      return;
    for (auto &node : *graph.mutable_node())
      bound.add_node()->Swap(&node);
    graph.mutable_node()->Swap(bound.mutable_node());
  }

  onnx::GraphProto &main;
  std::string_view mark;
  std::unordered_set<std::string> inputs;
};

} // namespace

DetachedWeights onnx_border::hoistDetached(onnx::ModelProto &model,
                                           std::string_view mark) {
  Hoister hoister(*model.mutable_graph(), mark);
  hoister.run();
  return std::move(hoister.weights);
}

void onnx_border::normaliseDomains(onnx::ModelProto &model) {
  auto normalise = [](auto &thing) {
    if (thing.domain() == "ai.onnx")
      thing.clear_domain();
  };
  auto graphNodes = [&](onnx::GraphProto &graph) {
    for (auto &node : *graph.mutable_node())
      normalise(node);
  };
  for (auto &import : *model.mutable_opset_import())
    normalise(import);
  forEachGraph(*model.mutable_graph(), graphNodes);
  for (auto &function : *model.mutable_functions()) {
    for (auto &import : *function.mutable_opset_import())
      normalise(import);
    for (auto &node : *function.mutable_node()) {
      normalise(node);
      for (auto &attribute : *node.mutable_attribute()) {
        if (attribute.has_g())
          forEachGraph(*attribute.mutable_g(), graphNodes);
        for (auto &graph : *attribute.mutable_graphs())
          forEachGraph(graph, graphNodes);
      }
    }
  }
}

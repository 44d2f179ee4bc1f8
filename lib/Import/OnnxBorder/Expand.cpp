// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Replaces operators by the bodies that ONNX's schemas define for them. ONNX's
// own inliner gives up on the whole model where one type is unknown; here a
// node that cannot be expanded just stays.

#include "Internal.h"

#include "onnx/defs/schema.h"
#include "onnx/shape_inference/attribute_binder.h"

using namespace onnx_border;

namespace {

// A body may use operators that have bodies; chains in ONNX are 3 long.
constexpr int kMaxRounds = 8;

using TypeMap = std::unordered_map<std::string, onnx::TypeProto>;

/// Renames the values of a body: formals to what the call passes, the others to
/// names with a prefix that no other value has.
class BodyRenamer {
public:
  BodyRenamer(std::string prefix, const onnx::FunctionProto &body,
              const onnx::NodeProto &call)
      : prefix(std::move(prefix)) {
    for (int i = 0; i < body.input_size(); ++i)
      names[body.input(i)] =
          i < call.input_size() ? call.input(i) : std::string();
    for (int i = 0; i < body.output_size(); ++i)
      if (i < call.output_size() && !call.output(i).empty())
        names[body.output(i)] = call.output(i);
  }

  void node(onnx::NodeProto &node) {
    for (auto &name : *node.mutable_input())
      rename(name);
    for (auto &name : *node.mutable_output())
      rename(name);
    for (auto &attribute : *node.mutable_attribute()) {
      if (attribute.has_g())
        graph(*attribute.mutable_g());
      for (auto &inner : *attribute.mutable_graphs())
        graph(inner);
    }
  }

private:
  void rename(std::string &name) const {
    if (name.empty())
      return;
    auto found = names.find(name);
    name = found == names.end() ? prefix + name : found->second;
  }

  template <typename List> void renameAll(List &list) const {
    for (auto &item : list)
      rename(*item.mutable_name());
  }

  void graph(onnx::GraphProto &graph) {
    renameAll(*graph.mutable_input());
    renameAll(*graph.mutable_output());
    renameAll(*graph.mutable_value_info());
    renameAll(*graph.mutable_initializer());
    for (auto &item : *graph.mutable_node())
      node(item);
  }

  std::string prefix;
  std::unordered_map<std::string, std::string> names;
};

class Expander {
public:
  Expander(int64_t opset, const FunctionSet &selected, int &counter)
      : opset(opset), selected(selected), counter(counter) {}

  /// True if any node was expanded. `types` are those of the graphs around.
  bool graph(onnx::GraphProto &graph, TypeMap types) {
    auto addTypes = [&](const auto &infos) {
      for (const auto &info : infos)
        if (info.has_type())
          types[info.name()] = info.type();
    };
    addTypes(graph.value_info());
    addTypes(graph.output());
    addTypes(graph.input());
    onnx::GraphProto result;
    bool any = false;
    for (auto &node : *graph.mutable_node()) {
      onnx::FunctionProto body;
      if (bodyOf(node, types, body)) {
        any = true;
        BodyRenamer renamer(
            node.op_type() + "." + std::to_string(counter++) + "/", body, node);
        for (auto &inner : *body.mutable_node()) {
          renamer.node(inner);
          // Messages about the body name the node that the file has.
          inner.set_name(node.name());
          *inner.mutable_metadata_props() = node.metadata_props();
          result.add_node()->Swap(&inner);
        }
        continue;
      }
      for (auto &attribute : *node.mutable_attribute()) {
        if (attribute.has_g())
          any |= this->graph(*attribute.mutable_g(), types);
        for (auto &inner : *attribute.mutable_graphs())
          any |= this->graph(inner, types);
      }
      result.add_node()->Swap(&node);
    }
    graph.mutable_node()->Swap(result.mutable_node());
    return any;
  }

private:
  /// The body of `node` with its attributes bound; false if it has none or is
  /// not selected.
  bool bodyOf(const onnx::NodeProto &node, const TypeMap &types,
              onnx::FunctionProto &body) {
    if (!node.domain().empty() || !selected(node.domain(), node.op_type()))
      return false;
    const onnx::OpSchema *schema = onnx::OpSchemaRegistry::Schema(
        node.op_type(), static_cast<int>(opset), "");
    if (!schema)
      return false;
    onnx::NodeProto call = node;
    for (const auto &[name, attribute] : schema->attributes()) {
      bool given = false;
      for (const auto &item : node.attribute())
        given |= item.name() == name;
      if (!given && attribute.default_value.has_type() &&
          !attribute.default_value.name().empty())
        *call.add_attribute() = attribute.default_value;
    }
    if (schema->HasFunction()) {
      const onnx::FunctionProto *found =
          schema->GetFunction(static_cast<int>(opset), false);
      if (!found)
        return false;
      body = *found;
    } else if (!schema->HasContextDependentFunction() ||
               !buildBody(*schema, call, types, body)) {
      return false;
    }
    onnx::internal::AttributeBinder::BindAttributes(call, body);
    return true;
  }

  bool buildBody(const onnx::OpSchema &schema, const onnx::NodeProto &call,
                 const TypeMap &types, onnx::FunctionProto &body) {
    std::vector<onnx::TypeProto> inputs;
    for (const auto &name : call.input()) {
      auto found = types.find(name);
      if (!name.empty() && found == types.end())
        return false;
      inputs.push_back(name.empty() ? onnx::TypeProto() : found->second);
    }
    try {
      return schema.BuildContextDependentFunction(
          onnx::FunctionBodyBuildContextImpl(call, inputs), body,
          static_cast<int>(opset));
    } catch (const std::exception &) {
      return false; // no body for these types or attributes
    }
  }

  int64_t opset;
  const FunctionSet &selected;
  int &counter;
};

} // namespace

void onnx_border::expandSchemas(onnx::ModelProto &model,
                                const FunctionSet &selected) {
  int counter = 0;
  for (int round = 0; round < kMaxRounds; ++round) {
    if (!Expander(opsetOf(model, ""), selected, counter)
             .graph(*model.mutable_graph(), {}))
      return;
    try {
      onnx::ModelProto inferred = model;
      inferShapes(inferred, /*strict=*/false);
      model = std::move(inferred);
    } catch (const std::exception &) {
      return; // the new values stay without types
    }
  }
}

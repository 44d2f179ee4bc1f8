// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parts of the ONNX border that use ONNX's own types. They may throw
// std::exception; only loadModel, which calls them, catches.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_ONNXBORDER_INTERNAL_H
#define ADAPTIVEDIALECT_LIB_IMPORT_ONNXBORDER_INTERNAL_H

#include "OnnxBorder.h"

#include "onnx/onnx_pb.h"

#include <map>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace onnx_border {

/// An error of our own, with its final one-line text.
struct BorderError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Text in one line for messages: control characters and line breaks become
/// spaces, and it is cut after 400 bytes.
std::string oneLine(const std::string &text);

/// Brings the node that a message of ONNX's library names to its front:
/// "node 'x' (MatMul): ...".
std::string nodeFirst(const std::string &message);

/// Detached tensors by the name of the graph input that stands for them.
using DetachedWeights = std::map<std::string, onnx::TensorProto>;

/// Turns detached tensors, marked by `mark`, into inputs of the main graph:
/// ONNX's library has no other value that has a type but no data.
DetachedWeights hoistDetached(onnx::ModelProto &model, std::string_view mark);

/// Writes the default domain as "" everywhere ("ai.onnx" is the same).
void normaliseDomains(onnx::ModelProto &model);

/// Version of `domain` that the model imports, 0 if none.
int64_t opsetOf(const onnx::ModelProto &model, const std::string &domain);

/// Checks, converts, inlines and infers in place, in this order. Adds to
/// `notes`.
void runPipeline(onnx::ModelProto &model, const Options &options,
                 std::vector<std::string> &notes);

/// Replaces calls of the selected local functions by their bodies.
void inlineLocalFunctions(onnx::ModelProto &model, const FunctionSet &selected);

/// Makes a model of ONNX's operators alone, see plainModel.
void makePlain(onnx::ModelProto &model, std::string_view mark,
               const TensorPlacer &placer);

/// Replaces the selected operators by the bodies ONNX has for them, where it
/// has.
void expandSchemas(onnx::ModelProto &model, const FunctionSet &selected);

/// Infers shapes in place; with `strict`, throws on a node that is wrong.
void inferShapes(onnx::ModelProto &model, bool strict);

/// Calls `visit` for every node list of a graph and its subgraphs.
template <typename GraphType, typename Visit>
void forEachGraph(GraphType &graph, Visit visit);

/// Body of a local function for one call: attributes bound, inputs typed,
/// shapes inferred. `types` are the call's input types (without value: absent).
onnx::GraphProto instantiate(const onnx::ModelProto &model,
                             const onnx::FunctionProto &function,
                             const onnx::NodeProto &call,
                             const std::vector<onnx::TypeProto> &types);

/// Reads the prepared model out.
void extract(const onnx::ModelProto &model, const DetachedWeights &detached,
             Model &out);

// The template walks with plain recursion; protobuf bounds the depth to 100.
template <typename GraphType, typename Visit>
void forEachGraph(GraphType &graph, Visit visit) {
  visit(graph);
  if constexpr (std::is_const_v<GraphType>) {
    for (const auto &node : graph.node())
      for (const auto &attribute : node.attribute()) {
        if (attribute.has_g())
          forEachGraph(attribute.g(), visit);
        for (const auto &inner : attribute.graphs())
          forEachGraph(inner, visit);
      }
  } else {
    for (auto &node : *graph.mutable_node())
      for (auto &attribute : *node.mutable_attribute()) {
        if (attribute.has_g())
          forEachGraph(*attribute.mutable_g(), visit);
        for (auto &inner : *attribute.mutable_graphs())
          forEachGraph(inner, visit);
      }
  }
}

} // namespace onnx_border

#endif // ADAPTIVEDIALECT_LIB_IMPORT_ONNXBORDER_INTERNAL_H

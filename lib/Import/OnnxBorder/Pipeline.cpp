// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ONNX's library does to a model before it is read out: checker, inlining,
// version conversion, shape inference, expansion of operators by their bodies.

#include "Internal.h"

#include "onnx/checker.h"
#include "onnx/defs/schema.h"
#include "onnx/inliner/inliner.h"
#include "onnx/shape_inference/implementation.h"
#include "onnx/version_converter/convert.h"

using namespace onnx_border;

namespace {

// Holds nodes of the default domain that are no ONNX operators while ONNX's
// library works: it refuses them there, and skips them in a domain of its own.
constexpr const char *kForeignDomain = "adaptive.foreign";

class FunctionIds final : public onnx::inliner::FunctionIdSet {
public:
  explicit FunctionIds(FunctionSet contains) : contains(std::move(contains)) {}
  bool Contains(const std::string &domain,
                const std::string &name) const override {
    return contains(domain, name);
  }

private:
  FunctionSet contains;
};

const onnx::OpSchema *schemaOf(const std::string &opType, int64_t opset) {
  return onnx::OpSchemaRegistry::Schema(opType, static_cast<int>(opset), "");
}

bool isLocalFunction(const onnx::ModelProto &model,
                     const onnx::NodeProto &node) {
  for (const auto &function : model.functions())
    if (function.domain() == node.domain() && function.name() == node.op_type())
      return true;
  return false;
}

bool usesDefaultDomain(const onnx::GraphProto &main) {
  bool any = false;
  forEachGraph(main, [&](const onnx::GraphProto &graph) {
    for (const auto &node : graph.node())
      any |= node.domain().empty();
  });
  return any;
}

/// Moves nodes that are no ONNX operators out of the default domain; false if
/// there are none.
bool hideForeignNodes(onnx::ModelProto &model, int64_t opset) {
  bool any = false;
  forEachGraph(*model.mutable_graph(), [&](onnx::GraphProto &graph) {
    for (auto &node : *graph.mutable_node()) {
      if (!node.domain().empty() || schemaOf(node.op_type(), opset) ||
          node.op_type().empty() || isLocalFunction(model, node))
        continue;
      node.set_domain(kForeignDomain);
      any = true;
    }
  });
  if (any) {
    auto *import = model.add_opset_import();
    import->set_domain(kForeignDomain);
    import->set_version(1);
  }
  return any;
}

void showForeignNodes(onnx::ModelProto &model) {
  forEachGraph(*model.mutable_graph(), [](onnx::GraphProto &graph) {
    for (auto &node : *graph.mutable_node())
      if (node.domain() == kForeignDomain)
        node.clear_domain();
  });
  auto *imports = model.mutable_opset_import();
  for (int i = imports->size() - 1; i >= 0; --i)
    if (imports->Get(i).domain() == kForeignDomain)
      imports->DeleteSubrange(i, 1);
}

/// The converter goes through a representation that has no functions and no
/// metadata; both are carried around it.
void convertVersion(onnx::ModelProto &model, int64_t target,
                    std::vector<std::string> &notes) {
  int64_t from = opsetOf(model, "");
  try {
    onnx::ModelProto converted = onnx::version_conversion::ConvertVersion(
        model, static_cast<int>(target));
    std::unordered_map<std::string, const onnx::NodeProto *> byOutput;
    for (const auto &node : model.graph().node())
      if (node.output_size() && !node.output(0).empty())
        byOutput.emplace(node.output(0), &node);
    for (auto &node : *converted.mutable_graph()->mutable_node()) {
      auto found =
          node.output_size() ? byOutput.find(node.output(0)) : byOutput.end();
      if (found != byOutput.end())
        *node.mutable_metadata_props() = found->second->metadata_props();
    }
    *converted.mutable_functions() = model.functions();
    // What the file says of intermediate types was inferred for the old opset.
    model = std::move(converted);
  } catch (const std::exception &error) {
    notes.push_back("opset " + std::to_string(from) +
                    " could not be converted to " + std::to_string(target) +
                    " and is imported as it is (" + nodeFirst(error.what()) +
                    ")");
  }
}

/// ONNX's inliner knows no default values of a function's attributes; every
/// call gets them written out.
void writeDefaults(onnx::ModelProto &model) {
  auto onNodes = [&](auto &nodes) {
    for (onnx::NodeProto &node : nodes)
      for (const auto &function : model.functions()) {
        if (function.domain() != node.domain() ||
            function.name() != node.op_type() ||
            function.overload() != node.overload())
          continue;
        for (const auto &fallback : function.attribute_proto()) {
          bool given = false;
          for (const auto &attribute : node.attribute())
            given |= attribute.name() == fallback.name();
          if (!given)
            *node.add_attribute() = fallback;
        }
      }
  };
  auto onGraph = [&](onnx::GraphProto &graph) {
    onNodes(*graph.mutable_node());
  };
  forEachGraph(*model.mutable_graph(), onGraph);
  for (auto &function : *model.mutable_functions()) {
    onNodes(*function.mutable_node());
    for (auto &node : *function.mutable_node())
      for (auto &attribute : *node.mutable_attribute()) {
        if (attribute.has_g())
          forEachGraph(*attribute.mutable_g(), onGraph);
        for (auto &graph : *attribute.mutable_graphs())
          forEachGraph(graph, onGraph);
      }
  }
}

/// True for an error inside of the body that ONNX defines for an operator.
/// Strict inference of such bodies is wrong where they refer to attributes.
bool isInsideOfBody(const std::string &message) {
  constexpr std::string_view head = "Inference error(s)";
  size_t first = message.find(head);
  return first != message.npos && message.find(head, first + 1) != message.npos;
}

/// Infers shapes and refuses nodes that are wrong. Where operators are unknown
/// (`vendor`), strictness would only say so.
void inferChecked(onnx::ModelProto &model, bool vendor) {
  onnx::ModelProto inferred = model;
  try {
    inferShapes(inferred, /*strict=*/!vendor);
  } catch (const std::exception &error) {
    if (vendor || !isInsideOfBody(error.what()))
      throw;
    inferred = model;
    inferShapes(inferred, /*strict=*/false);
  }
  model = std::move(inferred);
}

/// Bodies of operators depend on the types of their inputs, initialisers
/// included.
void addInitializerTypes(onnx::ModelProto &model) {
  forEachGraph(*model.mutable_graph(), [](onnx::GraphProto &graph) {
    std::unordered_set<std::string> known;
    for (const auto &info : graph.value_info())
      known.insert(info.name());
    for (const auto &info : graph.input())
      known.insert(info.name());
    for (const auto &tensor : graph.initializer()) {
      if (!known.insert(tensor.name()).second)
        continue;
      auto *info = graph.add_value_info();
      info->set_name(tensor.name());
      auto *type = info->mutable_type()->mutable_tensor_type();
      type->set_elem_type(tensor.data_type());
      auto *shape = type->mutable_shape();
      for (int64_t dim : tensor.dims())
        shape->add_dim()->set_dim_value(dim);
    }
  });
}

} // namespace

int64_t onnx_border::opsetOf(const onnx::ModelProto &model,
                             const std::string &domain) {
  for (const auto &import : model.opset_import())
    if (import.domain() == domain)
      return import.version();
  return 0;
}

void onnx_border::inlineLocalFunctions(onnx::ModelProto &model,
                                       const FunctionSet &selected) {
  bool any = false;
  for (const auto &function : model.functions())
    any |= selected(function.domain(), function.name());
  if (!any)
    return;
  writeDefaults(model);
  try {
    onnx::ModelProto inlined = model;
    onnx::inliner::InlineSelectedLocalFunctions(inlined, FunctionIds(selected));
    model = std::move(inlined);
    return;
  } catch (const std::exception &) {
    // Opsets of model and functions differ; the other entry point converts, but
    // knows no selection: the functions that stay are taken away meanwhile.
  }
  onnx::ModelProto kept;
  onnx::ModelProto inlined = model;
  inlined.clear_functions();
  for (const auto &function : model.functions())
    *(selected(function.domain(), function.name()) ? inlined : kept)
         .add_functions() = function;
  onnx::inliner::InlineLocalFunctions(inlined, /*convert_version=*/true);
  inlined.mutable_functions()->MergeFrom(kept.functions());
  model = std::move(inlined);
}

void onnx_border::inferShapes(onnx::ModelProto &model, bool strict) {
  onnx::shape_inference::DataValueMap shapeData;
  onnx::ShapeInferenceOptions options(/*check_type=*/strict,
                                      /*strict_mode=*/strict,
                                      /*data_prop=*/true);
  onnx::shape_inference::InferShapes(model, onnx::OpSchemaRegistry::Instance(),
                                     options, &shapeData);
}

void onnx_border::runPipeline(onnx::ModelProto &model, const Options &options,
                              std::vector<std::string> &notes) {
  int64_t opset = opsetOf(model, "");
  auto known = onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map();
  if (opset > known.at("").second)
    throw BorderError("opset " + std::to_string(opset) + " is newer than " +
                      std::to_string(known.at("").second) +
                      ", the newest that is known");
  if (opset <= 0 && usesDefaultDomain(model.graph()))
    throw BorderError("the model names no opset of the default domain");
  bool foreign = hideForeignNodes(model, opset);
  // A function may import another opset than the model: its ops carry their
  // own.
  onnx::checker::check_model(model, /*full_check=*/false,
                             /*skip_opset_compatibility_check=*/true);
  if (options.inlineLocal)
    inlineLocalFunctions(model, options.inlineLocal);
  bool vendor = foreign || opsetOf(model, "com.microsoft") > 0;
  if (!vendor && opset > 0 && opset < options.targetOpset)
    convertVersion(model, options.targetOpset, notes);
  addInitializerTypes(model);
  inferChecked(model, vendor);
  if (options.expandSchema)
    expandSchemas(model, options.expandSchema);
  if (foreign)
    showForeignNodes(model);
}

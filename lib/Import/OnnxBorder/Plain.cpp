// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model without functions: every call becomes the body of its function, and
// what ONNX itself does not define is refused.

#include "Internal.h"

#include "onnx/checker.h"
#include "onnx/defs/schema.h"

#include <limits>
#include <set>

using namespace onnx_border;

namespace {

/// Calls `visit` for every tensor that stands in a graph.
template <typename Visit>
void forEachTensor(onnx::GraphProto &main, Visit visit) {
  forEachGraph(main, [&](onnx::GraphProto &graph) {
    for (auto &tensor : *graph.mutable_initializer())
      visit(tensor);
    for (auto &node : *graph.mutable_node())
      for (auto &attribute : *node.mutable_attribute())
        if (attribute.has_t())
          visit(*attribute.mutable_t());
  });
}

bool callsFunctions(const onnx::ModelProto &model) {
  std::set<std::tuple<std::string, std::string, std::string>> names;
  for (const auto &function : model.functions())
    names.emplace(function.domain(), function.name(), function.overload());
  bool any = false;
  forEachGraph(model.graph(), [&](const onnx::GraphProto &graph) {
    for (const auto &node : graph.node())
      any |= names.count({node.domain(), node.op_type(), node.overload()}) > 0;
  });
  return any;
}

/// Inlines until no call is left; a body may call functions in its turn.
void inlineAll(onnx::ModelProto &model) {
  // The checker refuses functions that call themselves, so chains are as long
  // as there are functions, at most.
  for (int left = model.functions_size(); left > 0 && callsFunctions(model);
       --left) {
    auto functions = model.functions();
    inlineLocalFunctions(
        model, [](const std::string &, const std::string &) { return true; });
    // The inliner may take the functions away before the last call is gone.
    *model.mutable_functions() = functions;
  }
  if (callsFunctions(model))
    throw BorderError("its functions could not be inlined");
  model.clear_functions();
}

void refuseUnknown(const onnx::ModelProto &model) {
  forEachGraph(model.graph(), [&](const onnx::GraphProto &graph) {
    for (const auto &node : graph.node()) {
      int64_t version = opsetOf(model, node.domain());
      if (version > 0 && version <= std::numeric_limits<int>::max() &&
          onnx::OpSchemaRegistry::Schema(
              node.op_type(), static_cast<int>(version), node.domain()))
        continue;
      std::string domain = node.domain().empty() ? "ai.onnx" : node.domain();
      throw BorderError(
          "node '" + oneLine(node.name()) + "' (" + oneLine(node.op_type()) +
          " of " + oneLine(domain) +
          ") has no body in the file and is no operator of ONNX: plain ONNX "
          "cannot say it");
    }
  });
}

void dropUnusedOpsets(onnx::ModelProto &model) {
  std::set<std::string> used = {""};
  forEachGraph(model.graph(), [&](const onnx::GraphProto &graph) {
    for (const auto &node : graph.node())
      used.insert(node.domain());
  });
  auto &imports = *model.mutable_opset_import();
  for (int i = imports.size() - 1; i >= 0; --i)
    if (!used.count(imports.Get(i).domain()))
      imports.DeleteSubrange(i, 1);
}

/// Checks a model whose detached tensors have no data.
void check(const onnx::ModelProto &model, std::string_view mark, bool full) {
  onnx::ModelProto copy = model;
  hoistDetached(copy, mark);
  // A function may import another opset than the model.
  onnx::checker::check_model(copy, full,
                             /*skip_opset_compatibility_check=*/!full);
}

void restore(onnx::TensorProto &tensor, std::string_view mark,
             const TensorPlacer &placer) {
  if (std::string_view(tensor.doc_string()).substr(0, mark.size()) != mark)
    return;
  TensorPlace place = placer(tensor.doc_string().substr(mark.size()));
  tensor.clear_doc_string();
  if (place.location.empty()) {
    tensor.set_raw_data(place.raw.data(), place.raw.size());
    return;
  }
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
  auto add = [&](const char *key, const std::string &value) {
    auto *entry = tensor.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  };
  add("location", place.location);
  add("offset", std::to_string(place.offset));
  add("length", std::to_string(place.bytes));
}

} // namespace

void onnx_border::makePlain(onnx::ModelProto &model, std::string_view mark,
                            const TensorPlacer &placer) {
  check(model, mark, /*full=*/false);
  inlineAll(model);
  refuseUnknown(model);
  dropUnusedOpsets(model);
  check(model, mark, /*full=*/true);
  forEachTensor(*model.mutable_graph(), [&](onnx::TensorProto &tensor) {
    restore(tensor, mark, placer);
  });
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads a prepared ModelProto out into plain structs.

#include "Internal.h"

#include <algorithm>
#include <cstring>

using namespace onnx_border;

namespace {

constexpr size_t kMaxFunctionInstances = 20000;

using TypeMap = std::unordered_map<std::string, const onnx::TypeProto *>;

/// Names of a graph and of those around it, for types of values.
struct ScopeTypes {
  const ScopeTypes *outer = nullptr;
  TypeMap types;

  const onnx::TypeProto *find(const std::string &name) const {
    for (const ScopeTypes *scope = this; scope; scope = scope->outer)
      if (auto found = scope->types.find(name); found != scope->types.end())
        return found->second;
    return nullptr;
  }
};

const char *kindName(const onnx::TypeProto &type) {
  switch (type.value_case()) {
  case onnx::TypeProto::kSequenceType:
    return "sequence";
  case onnx::TypeProto::kMapType:
    return "map";
  case onnx::TypeProto::kOptionalType:
    return "optional";
  case onnx::TypeProto::kSparseTensorType:
    return "sparse tensor";
  case onnx::TypeProto::kOpaqueType:
    return "opaque";
  default:
    return "";
  }
}

TypeInfo readType(const onnx::TypeProto *type) {
  TypeInfo info;
  if (!type || type->value_case() == onnx::TypeProto::VALUE_NOT_SET)
    return info;
  if (!type->has_tensor_type()) {
    info.notTensor = kindName(*type);
    return info;
  }
  const auto &tensor = type->tensor_type();
  info.elementType = tensor.elem_type();
  info.hasShape = tensor.has_shape();
  for (const auto &dim : tensor.shape().dim()) {
    Dim read;
    if (dim.has_dim_value() && dim.dim_value() >= 0)
      read.value = dim.dim_value();
    read.name = dim.dim_param();
    info.dims.push_back(std::move(read));
  }
  return info;
}

template <typename Element, typename Values>
std::string packed(const Values &values) {
  std::string raw;
  raw.reserve(values.size() * sizeof(Element));
  for (auto value : values) {
    auto element = static_cast<Element>(value);
    char bytes[sizeof(Element)];
    std::memcpy(bytes, &element, sizeof(Element));
    raw.append(bytes, sizeof(Element));
  }
  return raw;
}

/// Raw data of a tensor that was checked, or that ONNX's library made.
std::string rawData(const onnx::TensorProto &tensor) {
  if (!tensor.raw_data().empty())
    return tensor.raw_data();
  switch (tensor.data_type()) {
  case onnx::TensorProto::FLOAT:
  case onnx::TensorProto::COMPLEX64:
    return packed<float>(tensor.float_data());
  case onnx::TensorProto::DOUBLE:
  case onnx::TensorProto::COMPLEX128:
    return packed<double>(tensor.double_data());
  case onnx::TensorProto::INT64:
    return packed<int64_t>(tensor.int64_data());
  case onnx::TensorProto::UINT64:
    return packed<uint64_t>(tensor.uint64_data());
  case onnx::TensorProto::UINT32:
    return packed<uint32_t>(tensor.uint64_data());
  case onnx::TensorProto::INT32:
    return packed<int32_t>(tensor.int32_data());
  case onnx::TensorProto::INT16:
  case onnx::TensorProto::UINT16:
  case onnx::TensorProto::FLOAT16:
  case onnx::TensorProto::BFLOAT16:
    return packed<uint16_t>(tensor.int32_data());
  default:
    return packed<uint8_t>(tensor.int32_data());
  }
}

Tensor readTensor(const onnx::TensorProto &tensor) {
  Tensor read;
  read.name = tensor.name();
  read.elementType = tensor.data_type();
  read.dims.assign(tensor.dims().begin(), tensor.dims().end());
  if (tensor.data_type() != onnx::TensorProto::STRING)
    read.raw = rawData(tensor);
  return read;
}

class Extractor {
public:
  Extractor(const onnx::ModelProto &model, const DetachedWeights &detached,
            Model &out)
      : model(model), detached(detached), out(out) {
    for (const auto &function : model.functions())
      functions.emplace(
          functionId(function.domain(), function.name(), function.overload()),
          &function);
  }

  void run() {
    std::unordered_map<std::string, int64_t> opsets;
    for (const auto &import : model.opset_import())
      opsets[import.domain()] = import.version();
    readGraph(model.graph(), nullptr, opsets, out.graph);
    // Stand-ins are initialisers again.
    std::erase_if(out.graph.inputs, [&](const Value &input) {
      return detached.count(input.name) != 0;
    });
    for (const auto &[name, tensor] : detached) {
      Tensor read;
      read.name = name;
      read.elementType = tensor.data_type();
      read.dims.assign(tensor.dims().begin(), tensor.dims().end());
      read.detachedKey = tensor.doc_string();
      out.graph.initializers.push_back(std::move(read));
    }
  }

private:
  using Opsets = std::unordered_map<std::string, int64_t>;

  static std::string functionId(const std::string &domain,
                                const std::string &name,
                                const std::string &overload) {
    return domain + '\0' + name + '\0' + overload;
  }

  void readGraph(const onnx::GraphProto &graph, const ScopeTypes *outer,
                 const Opsets &opsets, Graph &to);
  void readAttribute(const onnx::AttributeProto &attribute,
                     const ScopeTypes &scope, const Opsets &opsets,
                     Attribute &to);
  int functionFor(const onnx::NodeProto &node, const ScopeTypes &scope);

  const onnx::ModelProto &model;
  const DetachedWeights &detached;
  Model &out;
  std::unordered_map<std::string, const onnx::FunctionProto *> functions;
  std::unordered_map<std::string, int> instances;
};

void Extractor::readAttribute(const onnx::AttributeProto &attribute,
                              const ScopeTypes &scope, const Opsets &opsets,
                              Attribute &to) {
  using Proto = onnx::AttributeProto;
  to.name = attribute.name();
  switch (attribute.type()) {
  case Proto::FLOAT:
    to.kind = Attribute::Float;
    to.f = attribute.f();
    break;
  case Proto::INT:
    to.kind = Attribute::Int;
    to.i = attribute.i();
    break;
  case Proto::STRING:
    to.kind = Attribute::String;
    to.s = attribute.s();
    break;
  case Proto::TENSOR:
    to.kind = Attribute::TensorValue;
    to.tensor = readTensor(attribute.t());
    break;
  case Proto::FLOATS:
    to.kind = Attribute::Floats;
    to.floats.assign(attribute.floats().begin(), attribute.floats().end());
    break;
  case Proto::INTS:
    to.kind = Attribute::Ints;
    to.ints.assign(attribute.ints().begin(), attribute.ints().end());
    break;
  case Proto::STRINGS:
    to.kind = Attribute::Strings;
    to.strings.assign(attribute.strings().begin(), attribute.strings().end());
    break;
  case Proto::GRAPH:
    to.kind = Attribute::GraphValue;
    readGraph(attribute.g(), &scope, opsets, to.graphs.emplace_back());
    break;
  default:
    to.kind = Attribute::Other;
    to.otherKind = Proto::AttributeType_Name(attribute.type());
  }
}

void Extractor::readGraph(const onnx::GraphProto &graph,
                          const ScopeTypes *outer, const Opsets &opsets,
                          Graph &to) {
  ScopeTypes scope{outer, {}};
  auto addTypes = [&](const auto &infos) {
    for (const auto &info : infos)
      if (info.has_type())
        scope.types[info.name()] = &info.type();
  };
  addTypes(graph.value_info());
  addTypes(graph.output());
  addTypes(graph.input());

  to.name = graph.name();
  std::unordered_set<std::string> initializers;
  for (const auto &tensor : graph.initializer()) {
    initializers.insert(tensor.name());
    to.initializers.push_back(readTensor(tensor));
  }
  for (const auto &sparse : graph.sparse_initializer())
    throw BorderError("sparse initializer '" + oneLine(sparse.values().name()) +
                      "' is not supported; store it as a dense initializer");
  for (const auto &input : graph.input())
    if (!initializers.count(input.name()))
      to.inputs.push_back({input.name(), readType(scope.find(input.name()))});
  for (const auto &output : graph.output())
    to.outputs.push_back({output.name(), readType(scope.find(output.name()))});

  for (const auto &node : graph.node()) {
    Node &read = to.nodes.emplace_back();
    read.name = node.name();
    read.opType = node.op_type();
    read.domain = node.domain();
    auto opset = opsets.find(node.domain());
    read.opset = opset == opsets.end() ? 0 : opset->second;
    if (read.opset <= 0)
      throw BorderError("node '" + oneLine(node.name()) + "' (" +
                        oneLine(node.op_type()) + "): no version of domain '" +
                        oneLine(node.domain()) + "' is imported");
    read.inputs.assign(node.input().begin(), node.input().end());
    for (const auto &output : node.output())
      read.outputs.push_back({output, readType(scope.find(output))});
    for (const auto &attribute : node.attribute())
      readAttribute(attribute, scope, opsets, read.attributes.emplace_back());
    for (const auto &entry : node.metadata_props())
      read.metadata.emplace_back(entry.key(), entry.value());
    read.function = functionFor(node, scope);
  }
}

int Extractor::functionFor(const onnx::NodeProto &node,
                           const ScopeTypes &scope) {
  auto found = functions.find(
      functionId(node.domain(), node.op_type(), node.overload()));
  if (found == functions.end())
    return -1;
  const onnx::FunctionProto &function = *found->second;

  std::vector<onnx::TypeProto> types;
  std::string signature = found->first;
  for (const auto &input : node.input()) {
    onnx::TypeProto &type = types.emplace_back();
    if (const onnx::TypeProto *known =
            input.empty() ? nullptr : scope.find(input))
      type = *known;
    // Names of dimensions differ from call to call; the body does not need
    // them.
    if (type.has_tensor_type() && type.tensor_type().has_shape())
      for (auto &dim :
           *type.mutable_tensor_type()->mutable_shape()->mutable_dim())
        if (!dim.has_dim_value())
          dim.Clear();
    signature += '\0' + type.SerializeAsString() + (input.empty() ? "-" : "+");
  }
  std::vector<std::string> attributes;
  for (const auto &attribute : node.attribute())
    attributes.push_back(attribute.SerializeAsString());
  std::sort(attributes.begin(), attributes.end());
  for (const std::string &text : attributes)
    signature += '\0' + std::to_string(text.size()) + ':' + text;

  auto [instance, isNew] =
      instances.try_emplace(signature, out.functions.size());
  int index = instance->second;
  if (!isNew)
    return index;
  if (out.functions.size() >= kMaxFunctionInstances)
    throw BorderError("local functions are called with more than " +
                      std::to_string(kMaxFunctionInstances) +
                      " different signatures");
  out.functions.push_back(
      {function.domain(), function.name(), function.overload(), {}});
  onnx::GraphProto body = instantiate(model, function, node, types);
  Opsets opsets;
  for (const auto &import : function.opset_import())
    opsets[import.domain()] = import.version();
  Graph read;
  readGraph(body, nullptr, opsets, read);
  out.functions[index].body = std::move(read);
  return index;
}

} // namespace

void onnx_border::extract(const onnx::ModelProto &model,
                          const DetachedWeights &detached, Model &out) {
  out.irVersion = model.ir_version();
  out.opset = opsetOf(model, "");
  out.producer = model.producer_name();
  if (!model.producer_version().empty())
    out.producer += " " + model.producer_version();
  for (const auto &entry : model.metadata_props())
    out.metadata.emplace_back(entry.key(), entry.value());
  Extractor(model, detached, out).run();
}

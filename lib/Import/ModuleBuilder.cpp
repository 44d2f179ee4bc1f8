// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One carrier op per node, in the order of the file.

#include "ModuleBuilder.h"

#include "ElementTypes.h"
#include "Messages.h"

#include "AdaptiveDialect/IR/Adaptive.h"
#include "AdaptiveDialect/IR/Onnx.h"

#include "mlir/IR/Verifier.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace adaptive;
using onnx_border::Graph;
using onnx_border::Node;

// Hints of exporters that say which module a node came from. The others (stack
// traces, serialised graphs) are long and say nothing about the model.
static bool isUsefulMetadata(StringRef key) {
  return key == "namespace" || key == "pkg.torch.onnx.name_scopes" ||
         key == "pkg.torch.onnx.class_hierarchy" ||
         key.starts_with("ai.adaptive.");
}

ModuleBuilder::ModuleBuilder(StringRef path, MLIRContext *context,
                             WeightStore &store)
    : path(path), context(context), builder(context),
      module(ModuleOp::create(FileLineColLoc::get(context, path, 0, 0))),
      constants(*module, store, llvm::sys::path::filename(path).str()) {}

void ModuleBuilder::error(const Twine &text) {
  emitError(UnknownLoc::get(context)) << path << ": " << text;
  failed = true;
}

Location ModuleBuilder::location(StringRef name) {
  return NameLoc::get(builder.getStringAttr(name),
                      FileLineColLoc::get(context, path, 0, 0));
}

ArrayAttr ModuleBuilder::strings(const std::vector<std::string> &values) {
  SmallVector<StringRef> refs(values.begin(), values.end());
  return builder.getStrArrayAttr(refs);
}

DictionaryAttr ModuleBuilder::dictionary(
    const std::vector<std::pair<std::string, std::string>> &entries) {
  NamedAttrList list;
  for (const auto &[key, value] : entries)
    if (!key.empty() && isUsefulMetadata(key))
      list.set(key, builder.getStringAttr(value));
  return list.getDictionary(context);
}

Type ModuleBuilder::type(const onnx_border::TypeInfo &info) {
  Type element = info.notTensor.empty()
                     ? onnxElementType(info.elementType, context)
                     : Type();
  if (!element)
    return builder.getNoneType();
  if (!info.hasShape)
    return UnrankedTensorType::get(element);
  SmallVector<int64_t> shape;
  for (const onnx_border::Dim &dim : info.dims)
    shape.push_back(dim.value < 0 ? ShapedType::kDynamic : dim.value);
  return RankedTensorType::get(shape, element);
}

ArrayAttr ModuleBuilder::dimNames(const onnx_border::TypeInfo &info) {
  SmallVector<StringRef> names;
  for (const onnx_border::Dim &dim : info.dims)
    names.push_back(dim.value < 0 ? StringRef(dim.name) : StringRef());
  return builder.getStrArrayAttr(names);
}

Attribute ModuleBuilder::attribute(const onnx_border::Attribute &attribute) {
  using onnx_border::Attribute;
  switch (attribute.kind) {
  case Attribute::Float:
    return builder.getF32FloatAttr(attribute.f);
  case Attribute::Int:
    return builder.getI64IntegerAttr(attribute.i);
  case Attribute::String:
    return builder.getStringAttr(attribute.s);
  case Attribute::Floats:
    return builder.getDenseF32ArrayAttr(attribute.floats);
  case Attribute::Ints:
    return builder.getDenseI64ArrayAttr(attribute.ints);
  case Attribute::Strings:
    return strings(attribute.strings);
  case Attribute::TensorValue:
    if (auto value = denseAttribute(attribute.tensor, context))
      return value;
    return builder.getStringAttr("unsupported " +
                                 onnxTypeName(attribute.tensor.elementType) +
                                 " tensor");
  case Attribute::GraphValue:
  case Attribute::Other:
    break;
  }
  return builder.getStringAttr("unsupported " + attribute.otherKind);
}

Value ModuleBuilder::Names::find(StringRef name) const {
  for (const Names *scope = this; scope; scope = scope->outer)
    if (Value value = scope->values.lookup(name))
      return value;
  return {};
}

void ModuleBuilder::define(Names &names, const std::string &name, Value value) {
  if (!name.empty() && !names.values.try_emplace(name, value).second)
    error("value " + quoted(name) + " is defined twice");
}

Value ModuleBuilder::operand(const std::string &name, const std::string &user,
                             const Names &names) {
  if (name.empty())
    return constants.none();
  if (Value value = names.find(name))
    return value;
  error(user + "value " + quoted(name) + " is used but not defined before");
  return constants.none();
}

/// Turns a Constant node into a constant; false if it holds none of MLIR's
/// types.
bool ModuleBuilder::constantNode(const Node &node, Names &names) {
  if (node.opType != "Constant" || !node.domain.empty() ||
      node.outputs.size() != 1 || node.attributes.size() != 1)
    return false;
  const onnx_border::Attribute &attribute = node.attributes.front();
  DenseElementsAttr value;
  auto scalarOrVector = [&](Type element, auto elements, bool isVector) {
    SmallVector<int64_t> shape;
    if (isVector)
      shape.push_back(elements.size());
    return DenseElementsAttr::get(RankedTensorType::get(shape, element),
                                  elements);
  };
  using onnx_border::Attribute;
  switch (attribute.kind) {
  case Attribute::TensorValue:
    value = denseAttribute(attribute.tensor, context);
    break;
  case Attribute::Float:
    value = scalarOrVector(builder.getF32Type(), ArrayRef<float>(attribute.f),
                           false);
    break;
  case Attribute::Int:
    value = scalarOrVector(builder.getI64Type(), ArrayRef<int64_t>(attribute.i),
                           false);
    break;
  case Attribute::Floats:
    value = scalarOrVector(builder.getF32Type(),
                           ArrayRef<float>(attribute.floats), true);
    break;
  case Attribute::Ints:
    value = scalarOrVector(builder.getI64Type(),
                           ArrayRef<int64_t>(attribute.ints), true);
    break;
  default:
    break;
  }
  if (!value)
    return false;
  const std::string &name = node.outputs.front().name;
  define(names, name, constants.constant(value, location(name)));
  return true;
}

void ModuleBuilder::node(const Node &node, Names &names) {
  if (constantNode(node, names))
    return;
  std::string name = node.name;
  for (const onnx_border::Value &output : node.outputs)
    if (name.empty())
      name = output.name;
  std::string user = "node " + quoted(name) + ": ";

  SmallVector<Value> inputs;
  for (const std::string &input : node.inputs)
    inputs.push_back(operand(input, user, names));
  SmallVector<Type> types;
  std::vector<std::string> outputNames;
  SmallVector<Attribute> dims;
  bool anyDim = false;
  for (const onnx_border::Value &output : node.outputs) {
    types.push_back(type(output.type));
    outputNames.push_back(output.name);
    dims.push_back(dimNames(output.type));
    for (const onnx_border::Dim &dim : output.type.dims)
      anyDim |= dim.value < 0 && !dim.name.empty();
  }
  NamedAttrList attributes;
  std::vector<const Graph *> graphs;
  std::vector<std::string> graphNames;
  for (const onnx_border::Attribute &item : node.attributes) {
    if (item.kind == onnx_border::Attribute::GraphValue) {
      graphs.push_back(&item.graphs.front());
      graphNames.push_back(item.name);
    } else if (!item.name.empty()) {
      attributes.set(item.name, attribute(item));
    }
  }
  auto op = onnx_carrier::NodeOp::create(
      builder, location(name), types, node.opType,
      node.domain.empty() ? StringAttr() : builder.getStringAttr(node.domain),
      node.opset,
      attributes.empty() ? DictionaryAttr() : attributes.getDictionary(context),
      graphs.empty() ? ArrayAttr() : strings(graphNames), inputs,
      graphs.size());
  op->setAttr("onnx.names", strings(outputNames));
  if (anyDim)
    op->setAttr("onnx.dims", builder.getArrayAttr(dims));
  if (DictionaryAttr metadata = dictionary(node.metadata); !metadata.empty())
    op->setAttr("onnx.metadata", metadata);
  if (node.function >= 0)
    op->setAttr("onnx.function",
                FlatSymbolRefAttr::get(functions[node.function]));

  for (auto [graph, region] : llvm::zip_equal(graphs, op.getSubgraphs())) {
    OpBuilder::InsertionGuard guard(builder);
    Block &block = region.emplaceBlock();
    Names inner{&names, {}};
    for (const onnx_border::Value &input : graph->inputs)
      define(inner, input.name,
             block.addArgument(type(input.type), location(input.name)));
    graphBody(*graph, inner, block);
  }
  for (auto [output, value] : llvm::zip_equal(node.outputs, op.getOutputs()))
    define(names, output.name, value);
}

void ModuleBuilder::graphBody(const Graph &graph, Names &names, Block &block) {
  builder.setInsertionPointToEnd(&block);
  for (const onnx_border::Tensor &tensor : graph.initializers) {
    auto value = constants.get(tensor, location(tensor.name));
    if (!value) {
      error(value.error());
      continue;
    }
    if (!*value) // strings: whoever uses the value reports it
      *value =
          onnx_carrier::NodeOp::create(
              builder, location(tensor.name), TypeRange{builder.getNoneType()},
              "Constant", StringAttr(), 1,
              builder.getDictionaryAttr(builder.getNamedAttr(
                  "value", builder.getStringAttr(
                               "unsupported " +
                               onnxTypeName(tensor.elementType) + " tensor"))),
              ArrayAttr(), ValueRange(), 0)
              .getResult(0);
    define(names, tensor.name, *value);
  }
  for (const Node &item : graph.nodes)
    node(item, names);
  SmallVector<Value> results;
  for (const onnx_border::Value &output : graph.outputs)
    results.push_back(operand(output.name, "graph output: ", names));
  if (isa<func::FuncOp>(block.getParentOp()))
    func::ReturnOp::create(builder, builder.getUnknownLoc(), results);
  else
    onnx_carrier::ReturnOp::create(builder, builder.getUnknownLoc(), results);
}

func::FuncOp ModuleBuilder::function(const Graph &graph, StringRef name,
                                     bool isMain) {
  SmallVector<Type> inputs, results;
  for (const onnx_border::Value &input : graph.inputs)
    inputs.push_back(type(input.type));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(module->getBody());
  auto op = func::FuncOp::create(
      builder, location(graph.name.empty() ? name : graph.name), name,
      builder.getFunctionType(inputs, {}));
  Block &block = *op.addEntryBlock();
  Names names;
  for (auto [input, argument] :
       llvm::zip_equal(graph.inputs, block.getArguments())) {
    if (isMain && isa<NoneType>(argument.getType()))
      error("graph input " + quoted(input.name) +
            " must be a tensor of numbers, but it is a " +
            (input.type.notTensor.empty()
                 ? onnxTypeName(input.type.elementType) + " tensor"
                 : input.type.notTensor));
    argument.setLoc(location(input.name));
    define(names, input.name, argument);
  }
  constants.enterFunction(block);
  // Constants go before this point, nodes after it.
  graphBody(graph, names, block);
  for (Value value : block.getTerminator()->getOperands())
    results.push_back(value.getType());
  op.setFunctionType(builder.getFunctionType(inputs, results));
  for (auto [i, input] : llvm::enumerate(graph.inputs)) {
    op.setArgAttr(i, "onnx.name", builder.getStringAttr(input.name));
    op.setArgAttr(i, "onnx.dims", dimNames(input.type));
  }
  for (auto [i, output] : llvm::enumerate(graph.outputs)) {
    op.setResultAttr(i, "onnx.name", builder.getStringAttr(output.name));
    op.setResultAttr(i, "onnx.dims", dimNames(output.type));
    if (isMain && isa<NoneType>(results[i]) && !output.type.notTensor.empty())
      error("graph output " + quoted(output.name) +
            " must be a tensor, but it is a " + output.type.notTensor);
  }
  return op;
}

OwningOpRef<ModuleOp> ModuleBuilder::build(const onnx_border::Model &model) {
  for (const std::string &note : model.notes)
    emitWarning(UnknownLoc::get(context)) << path << ": " << note;
  // Symbols first, so that calls can name functions that come later.
  SymbolTable symbols(*module);
  builder.setInsertionPointToEnd(module->getBody());
  std::vector<std::string> names;
  for (const onnx_border::Function &item : model.functions) {
    auto placeholder =
        func::FuncOp::create(builder, builder.getUnknownLoc(), item.name,
                             builder.getFunctionType({}, {}));
    placeholder.setPrivate();
    if (item.name == "main")
      placeholder.setSymName("main_function");
    symbols.insert(placeholder);
    functions.push_back(placeholder);
  }
  function(model.graph, "main", /*isMain=*/true);
  for (auto [item, placeholder] : llvm::zip_equal(model.functions, functions)) {
    func::FuncOp op =
        function(item.body, placeholder.getSymName(), /*isMain=*/false);
    op.setPrivate();
    op->setAttr("onnx.function",
                strings({item.domain, item.name, item.overload}));
  }
  for (func::FuncOp placeholder : functions)
    placeholder.erase();
  constants.finish();

  ModuleOp op = *module;
  op->setAttr("onnx.source",
              builder.getStringAttr(llvm::sys::path::filename(path)));
  op->setAttr("onnx.opset", builder.getI64IntegerAttr(model.opset));
  op->setAttr("onnx.opset_in_file",
              builder.getI64IntegerAttr(model.opsetInFile));
  op->setAttr("onnx.ir_version", builder.getI64IntegerAttr(model.irVersion));
  if (!model.producer.empty())
    op->setAttr("onnx.producer", builder.getStringAttr(model.producer));
  if (DictionaryAttr metadata = dictionary(model.metadata); !metadata.empty())
    op->setAttr("onnx.metadata", metadata);
  if (failed || mlir::failed(verify(op)))
    return nullptr;
  return std::move(module);
}

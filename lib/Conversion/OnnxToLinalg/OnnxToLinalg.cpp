// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// onnx-to-linalg: walks the carrier function once and builds a new one beside
// it, node by node.
//
//   func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) { onnx.node "Relu" ... }
//   -> func @main(%x: tensor<?x4xf32> {ee.name = "x"}) { linalg.generic ... }

#include "Node.h"

#include "AdaptiveDialect/Conversion/OnnxToLinalg.h"
#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/IR/Onnx.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Iterators.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace adaptive {
#define GEN_PASS_DEF_ONNXTOLINALG
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;
using namespace adaptive::tolinalg;

namespace {

/// The name the file gives a result, or "".
std::string valueName(Value value) {
  auto result = dyn_cast<OpResult>(value);
  if (!result)
    return {};
  auto names = result.getOwner()->getAttrOfType<ArrayAttr>("onnx.names");
  unsigned i = result.getResultNumber();
  auto name =
      names && i < names.size() ? dyn_cast<StringAttr>(names[i]) : nullptr;
  return name ? name.str() : std::string();
}

/// "node 'x'", by its first result where the location has no name.
std::string nodeText(NodeOp node) {
  std::string name;
  Location(node.getLoc())->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner)) {
      name = named.getName().str();
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  for (Value result : node.getResults())
    if (name.empty())
      name = valueName(result);
  return name.empty() ? "operator " + node.getOpType().str()
                      : "node '" + name + "'";
}

/// True if the value may be a part of a larger buffer whose strides are known
/// at run time only.
bool mayBeStrided(Value value) {
  if (cast<RankedTensorType>(value.getType()).hasStaticShape())
    return false;
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  if (isa<tensor::CastOp, tensor::CollapseShapeOp, tensor::ExpandShapeOp>(op))
    return mayBeStrided(op->getOperand(0));
  return isa<tensor::ExtractSliceOp, scf::IfOp>(op);
}

class FunctionLowerer final : public Lowerer {
public:
  FunctionLowerer(func::FuncOp carrier, SymbolTable &symbols)
      : carrier(carrier), symbols(symbols),
        b(carrier.getLoc(), carrier.getContext()) {}

  /// The function that computes what the carrier computes; null after errors.
  func::FuncOp run() {
    if (failed(checkOperators(carrier)) || failed(checkArguments()))
      return {};
    SmallVector<Type> types;
    for (Type type : carrier.getArgumentTypes()) {
      auto ranked = cast<RankedTensorType>(type);
      types.push_back(ranked.clone(storageType(ranked.getElementType())));
    }
    b.setInsertionPoint(carrier);
    auto function = func::FuncOp::create(b, carrier.getSymName(),
                                         b.getFunctionType(types, {}));
    b.setInsertionPointToStart(function.addEntryBlock());
    arguments(function);
    if (failed(block(carrier.getBody().front(), function))) {
      function.erase();
      return {};
    }
    for (auto [i, type] : llvm::enumerate(function.getArgumentTypes()))
      function.setArgAttrs(
          i, facts(carrier.getArgAttrDict(i), cast<RankedTensorType>(type),
                   getElementTypeOrSelf(carrier.getArgumentTypes()[i])));
    Operation *end = carrier.getBody().front().getTerminator();
    for (auto [i, type] : llvm::enumerate(function.getResultTypes()))
      function.setResultAttrs(i, facts(carrier.getResultAttrDict(i),
                                       cast<RankedTensorType>(type),
                                       tensors[end->getOperand(i)].element));
    return function;
  }

  std::optional<SmallVector<Tensor>>
  subgraph(Region &region, ArrayRef<Tensor> arguments) override {
    Block &block = region.front();
    if (block.getNumArguments() != arguments.size())
      return std::nullopt;
    // Values made inside of a branch must not be used outside of it.
    auto outer = tensors;
    for (auto [argument, tensor] : llvm::zip(block.getArguments(), arguments))
      tensors[argument] = tensor;
    std::optional<SmallVector<Tensor>> results;
    if (succeeded(nodes(block))) {
      results.emplace();
      for (Value value : block.getTerminator()->getOperands())
        results->push_back(tensors.lookup(value));
    }
    tensors = std::move(outer);
    return results;
  }

private:
  /// Reports every operator that has no lowering, each node once.
  LogicalResult checkOperators(func::FuncOp function) {
    if (!checked.insert(function).second)
      return success();
    bool ok = true;
    function.walk([&](NodeOp node) {
      if (auto callee = calleeOf(node)) {
        ok &= succeeded(checkOperators(callee));
        return;
      }
      if (Registry::get().find(node.getDomainName(), node.getOpType()))
        return;
      emitError(node.getLoc())
          << nodeText(node) << ": operator " << node.getOpType()
          << (node.getDomainName().empty()
                  ? Twine()
                  : " of domain " + node.getDomainName())
          << " (opset " << node.getOpset() << ") has no lowering";
      ok = false;
    });
    return success(ok);
  }

  LogicalResult checkArguments() {
    for (auto [i, type] : llvm::enumerate(carrier.getArgumentTypes())) {
      auto ranked = dyn_cast<RankedTensorType>(type);
      auto name = carrier.getArgAttrOfType<StringAttr>(i, "onnx.name");
      auto error = [&] {
        return emitError(carrier.getLoc())
               << "graph input '" << (name ? name.getValue() : "") << "' ";
      };
      if (!ranked)
        return error() << "must have a known rank";
      if (!storageType(ranked.getElementType()))
        return error() << "has element type " << ranked.getElementType()
                       << ", which is not supported";
    }
    return success();
  }

  func::FuncOp calleeOf(NodeOp node) {
    auto name = node->getAttrOfType<FlatSymbolRefAttr>("onnx.function");
    return name ? symbols.lookup<func::FuncOp>(name.getValue())
                : func::FuncOp();
  }

  /// Dimensions of inputs that the file gives one name are one value; that they
  /// are equal is checked by whoever calls the function.
  void arguments(func::FuncOp function) {
    llvm::StringMap<Size> named;
    for (auto [i, argument] : llvm::enumerate(function.getArguments())) {
      auto type = cast<RankedTensorType>(argument.getType());
      auto dims = carrier.getArgAttrOfType<ArrayAttr>(i, "onnx.dims");
      Sizes sizes;
      for (int64_t dim = 0; dim < type.getRank(); ++dim) {
        if (!type.isDynamicDim(dim)) {
          sizes.push_back(b.getIndexAttr(type.getDimSize(dim)));
          continue;
        }
        Size extent = getAsOpFoldResult(
            tensor::DimOp::create(b, argument, dim).getResult());
        auto name = dims && dim < int64_t(dims.size())
                        ? dyn_cast<StringAttr>(dims[dim])
                        : nullptr;
        if (name && !name.getValue().empty())
          extent = named.try_emplace(name.getValue(), extent).first->second;
        sizes.push_back(extent);
      }
      Type element = cast<RankedTensorType>(carrier.getArgumentTypes()[i])
                         .getElementType();
      tensors[carrier.getArgument(i)] = {
          argument, element, sizes, std::nullopt, {}};
    }
  }

  /// What the runtime is told of an argument or a result.
  SmallVector<NamedAttribute> facts(DictionaryAttr of, RankedTensorType type,
                                    Type element) {
    SmallVector<NamedAttribute> result;
    if (of && of.contains("onnx.name"))
      result.push_back(b.getNamedAttr("ee.name", of.get("onnx.name")));
    auto dims = of ? of.getAs<ArrayAttr>("onnx.dims") : ArrayAttr();
    if (dims && int64_t(dims.size()) == type.getRank()) {
      // A size that turned out to be constant needs no name.
      SmallVector<Attribute> names(dims.getValue());
      for (int64_t dim = 0; dim < type.getRank(); ++dim)
        if (!type.isDynamicDim(dim))
          names[dim] = b.getStringAttr("");
      result.push_back(b.getNamedAttr("ee.dims", b.getArrayAttr(names)));
    }
    if (element.isUnsignedInteger())
      result.push_back(b.getNamedAttr(
          "ee.dtype",
          b.getStringAttr("u" + Twine(element.getIntOrFloatBitWidth()))));
    return result;
  }

  LogicalResult block(Block &body, func::FuncOp function) {
    if (failed(nodes(body)))
      return failure();
    SmallVector<Value> values;
    for (auto [i, value] :
         llvm::enumerate(body.getTerminator()->getOperands())) {
      Tensor &tensor = tensors[value];
      if (!tensor.element) {
        auto name = carrier.getResultAttrOfType<StringAttr>(i, "onnx.name");
        return emitError(carrier.getLoc())
               << "graph output '" << (name ? name.getValue() : "")
               << "' is not a tensor that is computed";
      }
      b.setLoc(carrier.getLoc());
      Emitter emitter(b, "");
      emitter.value(tensor);
      // Bufferization takes unknown strides for dense ones where a result must
      // be dense; a copy by index is dense and is not folded away.
      if (mayBeStrided(tensor.value))
        tensor = emitter.generate(
            tensor.sizes, tensor.element,
            [&](ArrayRef<Value> at) { return emitter.at(tensor, at); });
      values.push_back(tensor.value);
    }
    func::ReturnOp::create(b, values);
    function.setFunctionType(b.getFunctionType(function.getArgumentTypes(),
                                               ValueRange(values).getTypes()));
    return success();
  }

  LogicalResult nodes(Block &block) {
    for (Operation &op : block.without_terminator()) {
      b.setLoc(op.getLoc());
      if (isa<onnx_carrier::NoneOp>(op))
        continue;
      if (auto constant = dyn_cast<onnx_carrier::ConstantOp>(op)) {
        if (failed(this->constant(constant)))
          return failure();
      } else if (auto use = dyn_cast<UseOp>(op)) {
        weight(use);
      } else if (auto node = dyn_cast<NodeOp>(op)) {
        if (failed(this->node(node)))
          return failure();
      } else {
        return emitError(op.getLoc())
               << "'" << op.getName()
               << "' does not belong into a carrier graph";
      }
    }
    return success();
  }

  LogicalResult constant(onnx_carrier::ConstantOp op) {
    auto value = dyn_cast<DenseElementsAttr>(op.getValue());
    if (!value || !isa<RankedTensorType>(value.getType()) ||
        !storageType(value.getElementType()))
      return success(); // who uses it reports it
    tensors[op.getOutput()] = Emitter(b, "").fromConstant(value);
    return success();
  }

  void weight(UseOp op) {
    auto type = cast<RankedTensorType>(op.getType());
    Type element = type.getElementType();
    if (!storageType(element))
      return;
    auto signless = type.clone(storageType(element));
    Value use = UseOp::create(b, type, op.getWeight());
    if (signless != type)
      use = tensor::BitcastOp::create(b, signless, use);
    Sizes sizes;
    for (int64_t dim : type.getShape())
      sizes.push_back(b.getIndexAttr(dim));
    tensors[op.getResult()] = {use, element, sizes, std::nullopt, {}};
  }

  LogicalResult node(NodeOp op) {
    std::string name = nodeText(op);
    if (auto callee = calleeOf(op))
      return call(op, callee, name);
    const Operator *found =
        Registry::get().find(op.getDomainName(), op.getOpType());
    Node node(b, name, op, *this);
    if (op.getInputs().size() < found->inputs)
      return node.error(op.getOpType() + " needs " + Twine(found->inputs) +
                        " inputs, but got " + Twine(op.getInputs().size()));
    for (auto [i, value] : llvm::enumerate(op.getInputs())) {
      Tensor tensor;
      bool isAbsent =
          isa_and_nonnull<onnx_carrier::NoneOp>(value.getDefiningOp());
      if (!isAbsent)
        tensor = tensors.lookup(value);
      if (!tensor.element && (!isAbsent || i < found->inputs))
        return node.error("input " + Twine(i) + " '" + valueName(value) +
                          "' of " + op.getOpType() +
                          " must be a tensor of a supported element type");
      node.inputs.push_back(std::move(tensor));
    }
    if (failed(found->lower(node)) || node.failed()) {
      if (!node.failed())
        return node.error(op.getOpType() + " (opset " + Twine(op.getOpset()) +
                          ") is not supported in this form");
      return failure();
    }
    for (auto [value, result] : llvm::zip(op.getResults(), node.results)) {
      if (result)
        tensors[value] = std::move(*result);
      else if (!value.use_empty())
        return node.error("output '" + valueName(value) + "' of " +
                          op.getOpType() + " is not supported");
    }
    return success();
  }

  LogicalResult call(NodeOp op, func::FuncOp callee, const std::string &name) {
    constexpr unsigned kMaxDepth =
        64; // functions cannot call themselves; files can lie
    Block &body = callee.getBody().front();
    if (depth >= kMaxDepth || body.getNumArguments() != op.getInputs().size())
      return emitError(op.getLoc())
             << name << ": calls of model-local functions nest more than "
             << kMaxDepth << " deep or differ in their inputs";
    for (auto [argument, value] :
         llvm::zip(body.getArguments(), op.getInputs()))
      tensors[argument] = tensors.lookup(value);
    ++depth;
    LogicalResult ok = nodes(body);
    --depth;
    if (failed(ok))
      return failure();
    for (auto [value, result] :
         llvm::zip(op.getResults(), body.getTerminator()->getOperands()))
      tensors[value] = tensors.lookup(result);
    return success();
  }

  func::FuncOp carrier;
  SymbolTable &symbols;
  ImplicitLocOpBuilder b;
  DenseMap<Value, Tensor> tensors;
  llvm::SmallPtrSet<Operation *, 4> checked;
  unsigned depth = 0;
};

/// Erases what nothing uses: sizes and shapes are computed eagerly.
void eraseUnused(func::FuncOp function) {
  bool any = true;
  while (any) {
    any = false;
    function.walk<WalkOrder::PostOrder, mlir::ReverseIterator>(
        [&](Operation *op) {
          if (op != function && isOpTriviallyDead(op)) {
            op->erase();
            any = true;
          }
        });
  }
}

struct OnnxToLinalg : adaptive::impl::OnnxToLinalgBase<OnnxToLinalg> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    auto carrier = symbols.lookup<func::FuncOp>("main");
    if (!carrier || !carrier.getBody().hasOneBlock()) {
      emitError(module.getLoc(),
                "the module must have a function @main of one block");
      return signalPassFailure();
    }
    FunctionLowerer lowerer(carrier, symbols);
    func::FuncOp function = lowerer.run();
    if (!function)
      return signalPassFailure();
    for (auto other : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
      if (other != function)
        other.erase();
    eraseUnused(function);
  }
};

} // namespace

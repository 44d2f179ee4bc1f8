// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a function takes and gives, as its artifact states it.

#include "AdaptiveDialect/Conversion/CPU/Function.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

std::string cpu::dtypeName(Type element) {
  if (element.isF32())
    return "f32";
  if (element.isF64())
    return "f64";
  if (element.isF16())
    return "f16";
  if (element.isBF16())
    return "bf16";
  auto integer = dyn_cast<IntegerType>(element);
  if (!integer)
    return "";
  unsigned width = integer.getWidth();
  if (width == 1 && integer.isSignless())
    return "bool";
  if (width != 8 && width != 16 && width != 32 && width != 64)
    return "";
  return (integer.isUnsigned() ? "u" : "i") + std::to_string(width);
}

static FunctionValue valueOf(RankedTensorType type, DictionaryAttr attributes) {
  FunctionValue value;
  value.name = attributes.getAs<StringAttr>("ee.name").str();
  auto dtype = attributes.getAs<StringAttr>("ee.dtype");
  value.dtype = dtype ? dtype.str() : dtypeName(type.getElementType());
  auto dims = attributes.getAs<ArrayAttr>("ee.dims");
  for (int64_t i = 0; i < type.getRank(); ++i) {
    bool dynamic = type.isDynamicDim(i);
    value.shape.push_back(dynamic ? -1 : type.getDimSize(i));
    value.dims.push_back(dynamic && dims ? cast<StringAttr>(dims[i]).str()
                                         : std::string());
  }
  return value;
}

FunctionSignature cpu::functionSignature(ModuleOp module) {
  FunctionSignature signature;
  func::FuncOp main = *module.getOps<func::FuncOp>().begin();
  auto attributes = [&](DictionaryAttr given) {
    return given ? given : DictionaryAttr::get(module.getContext());
  };
  for (auto [i, type] : llvm::enumerate(main.getArgumentTypes()))
    signature.inputs.push_back(valueOf(cast<RankedTensorType>(type),
                                       attributes(main.getArgAttrDict(i))));
  for (auto [i, type] : llvm::enumerate(main.getResultTypes()))
    signature.outputs.push_back(valueOf(cast<RankedTensorType>(type),
                                        attributes(main.getResultAttrDict(i))));
  llvm::DenseSet<StringAttr> used;
  main.walk([&](UseOp use) { used.insert(use.getWeightAttr().getAttr()); });
  for (Operation &op : *module.getBody())
    if (isa<WeightOp, TableOp>(op))
      if (StringAttr name = SymbolTable::getSymbolName(&op);
          used.contains(name))
        signature.weights.push_back(name.str());
  return signature;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The importer's phases: find the tensors, let ONNX's library work on the model
// without its weights, build the module.

#include "AdaptiveDialect/Import/Import.h"

#include "Constants.h"
#include "ModuleBuilder.h"
#include "OnnxBorder.h"
#include "TensorIndex.h"

#include "AdaptiveDialect/IR/Adaptive.h"
#include "AdaptiveDialect/IR/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;
using namespace adaptive;

static onnx_border::FunctionSet plainSet(const OnnxFunctionSet &set) {
  if (!set)
    return {};
  return [&set](const std::string &domain, const std::string &opType) {
    return set(domain, opType);
  };
}

OwningOpRef<ModuleOp> adaptive::importOnnx(llvm::StringRef path,
                                           MLIRContext *context,
                                           WeightStore &store,
                                           const ImportOptions &options) {
  context->loadDialect<AdaptiveDialect, onnx_carrier::OnnxDialect,
                       func::FuncDialect>();
  auto fail = [&](const std::string &text) {
    // Messages of the opener start with the quoted path already.
    bool named = llvm::StringRef(text).contains(path);
    emitError(UnknownLoc::get(context)) << (named ? "" : path + ": ") << text;
    return nullptr;
  };
  std::string slim;
  if (auto ok = store.openModel(path.str(), placeTensor, slim); !ok)
    return fail(ok.error());
  onnx_border::Options borderOptions;
  borderOptions.targetOpset = options.targetOpset;
  borderOptions.inlineLocal = plainSet(options.inlineFunctions);
  borderOptions.expandSchema = plainSet(options.expandOperators);
  auto model = onnx_border::loadModel(slim, kDetachedMark, borderOptions);
  if (!model)
    return fail(model.error());
  slim = {};
  return ModuleBuilder(path, context, store).build(*model);
}

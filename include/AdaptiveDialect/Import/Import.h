// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX file -> carrier ops. The importer is dumb and total: each node becomes
// one `onnx.node`, whatever its operator; what no pass understands is reported
// later, all of it in one run.
//
// What the module holds:
// - `adaptive.weight` per distinct large tensor. Small ones are
// `onnx.constant`s at
//   the start of the function; equal contents are one op. `onnx.names` on a
//   weight lists the names of all initialisers it stands for, if there are
//   several; `onnx.tensor` on a constant names the initialiser that holds these
//   floats, for who wants to make a weight of it.
// - `func.func @main` with `onnx.name` (string) and `onnx.dims` (one string per
//   dimension: the name or expression of a dynamic one, else "") on each
//   argument and result.
// - `onnx.node` at a NameLoc of the node's name, with `onnx.names` (names of
// the
//   results, "" where unused), `onnx.dims` (per result, only where names are
//   known), `onnx.metadata` (exporter hints) and `onnx.function` (symbol of the
//   local function it calls).
// - a private `func.func` with `onnx.function` = [domain, name, overload] per
// local
//   function and signature; attribute references are bound to the call's
//   values.
// - attributes `onnx.source`, `onnx.opset`, `onnx.opset_in_file`,
// `onnx.ir_version`,
//   `onnx.producer`, `onnx.metadata` on the module.
// A result of type `none` is absent, is no tensor, or has a type that ONNX's
// shape inference does not know (an operator of another domain).

#ifndef ADAPTIVEDIALECT_IMPORT_IMPORT_H
#define ADAPTIVEDIALECT_IMPORT_IMPORT_H

#include "AdaptiveDialect/Import/WeightStore.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <functional>

namespace adaptive {

/// Says whether calls of (domain, op type) are to be replaced by their body.
using OnnxFunctionSet =
    std::function<bool(llvm::StringRef domain, llvm::StringRef opType)>;

struct ImportOptions {
  /// Files of an older opset are converted to this one, unless they use
  /// operators of com.microsoft or operators that ONNX does not know.
  int64_t targetOpset = 23;
  /// Model-local functions to inline. None by default: a function called
  /// several times is a shared block, and those of ai.adaptive say what an exit
  /// means.
  OnnxFunctionSet inlineFunctions;
  /// Operators of the default domain to replace by the body that ONNX's schema
  /// has for them: the fallback for operators without a lowering. None by
  /// default.
  OnnxFunctionSet expandOperators;
};

/// Imports the ONNX file at `path` (given by the user). `store` gets the file's
/// weights; it must be made for the folder of `path`. On failure emits one-line
/// errors "<path>: node 'x': ..." through the context and returns null. Needs
/// the dialects adaptive, onnx and func; loads them.
mlir::OwningOpRef<mlir::ModuleOp> importOnnx(llvm::StringRef path,
                                             mlir::MLIRContext *context,
                                             WeightStore &store,
                                             const ImportOptions &options = {});

} // namespace adaptive

#endif // ADAPTIVEDIALECT_IMPORT_IMPORT_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ee-lsp-server: gives editors diagnostics, hovers and definitions for .mlir
// files with our dialects.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "AdaptiveDialect/IR/Onnx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<adaptive::AdaptiveDialect, onnx_carrier::OnnxDialect,
                  mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::math::MathDialect>();
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ee-lsp-server: gives editors diagnostics, hovers and definitions for .mlir
// files with our dialects.

#include "AdaptiveDialect/Register.h"

#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  adaptive::registerEverything(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ee-reduce: shrinks an .mlir file while a script still finds it interesting.

#include "AdaptiveDialect/Register.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  adaptive::registerEverything(registry);
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context));
}

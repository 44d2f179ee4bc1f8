// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ee-opt: compiles an ONNX file to an artifact, or runs passes over .mlir.

#include "AdaptiveDialect/Driver/CommandLine.h"
#include "AdaptiveDialect/Register.h"
#include "runtime_hooks.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/raw_ostream.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  adaptive::registerEverything(registry);
  if (adaptive::isCompileCommand(argc, argv)) {
    auto hooks = runtimeHooks();
    if (!hooks) {
      llvm::errs() << "ee-opt: error: " << hooks.error() << "\n";
      return 1;
    }
    return adaptive::compileMain(argc, argv, registry, *hooks);
  }
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "adaptive-depth optimizer\n", registry));
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Seeing inside of a compilation: MLIR's own flags for printing, timing and
// reproducing passes, for every pass manager that the compiler runs.

#include "Instrumentation.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/CommandLine.h"

using namespace mlir;
using namespace adaptive;

void adaptive::registerInstrumentationFlags() {
  registerAsmPrinterCLOptions();
  registerMLIRContextCLOptions();
  registerPassManagerCLOptions();
  registerDefaultTimingManagerCLOptions();
}

void adaptive::prepareForInstrumentation(MLIRContext &context) {
  // A pass manager takes these only where no other thread is at work.
  for (StringRef flag : {"mlir-print-ir-module-scope",
                         "mlir-pass-pipeline-local-reproducer"}) {
    auto &options = llvm::cl::getRegisteredOptions();
    auto option = options.find(flag);
    if (option != options.end() && option->second->getNumOccurrences())
      context.disableMultithreading();
  }
}

Instrumentation::Instrumentation() {
  applyDefaultTimingManagerCLOptions(manager);
  whole = manager.getRootScope();
}

void Instrumentation::beginPhase(StringRef what) {
  phase.stop();
  phase = whole.nest(what);
}

LogicalResult Instrumentation::apply(PassManager &pm) {
  pm.enableTiming(phase ? phase : whole);
  return applyPassManagerCLOptions(pm);
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Seeing inside of a compilation: MLIR's own flags for printing, timing and
// reproducing passes, for every pass manager that the compiler runs.

#ifndef ADAPTIVE_LIB_DRIVER_INSTRUMENTATION_H
#define ADAPTIVE_LIB_DRIVER_INSTRUMENTATION_H

#include "mlir/Support/LLVM.h"
#include "mlir/Support/Timing.h"

#include <functional>

namespace mlir {
class MLIRContext;
class PassManager;
} // namespace mlir

namespace adaptive {

/// Makes --mlir-print-ir-*, --mlir-timing,
/// --mlir-pass-pipeline-crash-reproducer and their kin flags of the command
/// line about to be read. Passes must be registered: some flags list them.
void registerInstrumentationFlags();

/// Sets the context up for what the command line asked for.
void prepareForInstrumentation(mlir::MLIRContext &context);

/// Hands what passes chose (AdaptiveDialect/Transforms/Remarks.h) to `print`, a
/// line each.
void printChoices(mlir::MLIRContext &context,
                  std::function<void(llvm::StringRef)> print);

/// What watches one compilation. Its report on time comes when it goes.
class Instrumentation {
public:
  Instrumentation();
  /// Passes that run from now on, and what else takes time, count for `what`.
  void beginPhase(llvm::StringRef what);
  llvm::LogicalResult apply(mlir::PassManager &pm);

private:
  mlir::DefaultTimingManager manager;
  mlir::TimingScope whole, phase;
};

} // namespace adaptive

#endif // ADAPTIVE_LIB_DRIVER_INSTRUMENTATION_H

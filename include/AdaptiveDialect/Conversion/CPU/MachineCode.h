// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the LLVM dialect to machine code of a CPU level: what stages and
// functions share.

#ifndef ADAPTIVEDIALECT_CONVERSION_CPU_MACHINECODE_H
#define ADAPTIVEDIALECT_CONVERSION_CPU_MACHINECODE_H

#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"

#include <functional>

namespace adaptive::cpu {

struct MachineCodeOptions {
  /// Functions that the shared object exports; the others become internal.
  std::function<bool(llvm::StringRef)> isExported;
  /// For scalar loops. Kernels are vector code already; vectorising the loops
  /// around them costs compile time and buys nothing.
  bool vectorizeLoops = false;
  /// Adds memcpy, memmove and memset: LLVM makes calls of them from loops.
  bool memoryFunctions = false;
};

/// Adds the constants that a loader checks: `abiName` (i32) and `ee_profile` (a
/// C string).
void emitLoaderConstants(mlir::ModuleOp module, llvm::StringRef abiName,
                         int32_t abi, std::string profile);

/// LLVM IR as text, assembly, or the bytes of a shared object (`stop` is not
/// Kernel) of a module in the LLVM dialect. Errors are reported at `module`.
mlir::FailureOr<std::string> emitMachineCode(mlir::ModuleOp module, Level level,
                                             CodeStage stop,
                                             const MachineCodeOptions &options);

} // namespace adaptive::cpu

#endif // ADAPTIVEDIALECT_CONVERSION_CPU_MACHINECODE_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Links one object file into a shared object, in process.

#ifndef ADAPTIVE_LIB_CONVERSION_CPU_SHAREDOBJECT_H
#define ADAPTIVE_LIB_CONVERSION_CPU_SHAREDOBJECT_H

#include "mlir/IR/BuiltinOps.h"

#include <string>

namespace adaptive::cpu {

/// Bytes of the shared object made of `object`; errors are reported at
/// `module`. The result needs no library: kernels call nothing outside
/// themselves.
mlir::FailureOr<std::string> linkSharedObject(mlir::ModuleOp module,
                                              llvm::StringRef object);

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_CPU_SHAREDOBJECT_H

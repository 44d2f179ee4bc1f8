// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// memcpy, memmove and memset as part of the compiled code.

#ifndef ADAPTIVE_LIB_CONVERSION_CPU_MEMORYFUNCTIONS_H
#define ADAPTIVE_LIB_CONVERSION_CPU_MEMORYFUNCTIONS_H

#include "mlir/Support/LLVM.h"

namespace llvm {
class Module;
} // namespace llvm

namespace adaptive::cpu {

/// Defines memcpy, memmove and memset in `module`, hidden from outside of the
/// shared object. They may not become internal: the code generator looks them
/// up by name long after unused functions were dropped.
mlir::LogicalResult addMemoryFunctions(llvm::Module &module);

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_CPU_MEMORYFUNCTIONS_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The general path of the CPU backend: a module in function form
// (docs/Architecture.md) to code with one entry point (ee/function_abi.h).

#ifndef ADAPTIVEDIALECT_CONVERSION_CPU_FUNCTION_H
#define ADAPTIVEDIALECT_CONVERSION_CPU_FUNCTION_H

#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"

#include <string>
#include <vector>

namespace adaptive::cpu {

/// An input or a result of the function.
struct FunctionValue {
  std::string name;
  std::string dtype;          ///< f32, bf16, bool, u8, ...
  std::vector<int64_t> shape; ///< -1 where dynamic
  /// Per dimension its name, or "". Dynamic dimensions of equal name are equal.
  std::vector<std::string> dims;
};

struct FunctionSignature {
  std::vector<FunctionValue> inputs, outputs;
  std::vector<std::string> weights; ///< symbols in the order of the ABI's table
};

/// The function's signature. `module` has passed adaptive-verify-function.
FunctionSignature functionSignature(mlir::ModuleOp module);

/// `f32`, `bool`, `u8`, ...; empty for a type that no tensor of a function has.
/// Signless integers are signed.
std::string dtypeName(mlir::Type element);

/// Makes code for one level from a module in function form, which stays as it
/// is: text after buffers and loops (Kernel), LLVM IR, assembly, or the bytes
/// of an ELF shared object. Errors name the op that cannot be compiled.
mlir::FailureOr<std::string> compileFunction(mlir::ModuleOp module, Level level,
                                             CodeStage stop);

/// Name of the numerics profile of functions.
std::string functionProfileName(Level level);

} // namespace adaptive::cpu

#endif // ADAPTIVEDIALECT_CONVERSION_CPU_FUNCTION_H

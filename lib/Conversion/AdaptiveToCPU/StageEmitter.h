// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From planned stages to a module of kernels and, behind it, the functions of
// the stage ABI that call the thread team.

#ifndef ADAPTIVE_LIB_CONVERSION_CPU_STAGEEMITTER_H
#define ADAPTIVE_LIB_CONVERSION_CPU_STAGEEMITTER_H

#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"

namespace adaptive::cpu {

/// One step of a stage: team calls, or a loop of them over layers.
struct Step {
  std::vector<Launch> launches;
  int64_t layers = 0; ///< 0: once
  int64_t firstWeight = 0, weightStride = 0, firstInLevel = 0;
};

struct StageCode {
  std::string symbol;
  int64_t depth;
  std::vector<Step> steps;
};

/// Emits the kernels of all stages into `kernels`.
mlir::FailureOr<std::vector<StageCode>>
emitStageKernels(const CodePlan &plan, Level level, mlir::ModuleOp kernels);

/// Adds the stage functions and constants to `kernels`, which is in the LLVM
/// dialect by now.
void emitStageFunctions(llvm::ArrayRef<StageCode> stages, Level level,
                        mlir::ModuleOp kernels);

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_CPU_STAGEEMITTER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Named pipelines. Tools and tests run these; no tool adds passes by itself.

#ifndef ADAPTIVEDIALECT_PIPELINES_H
#define ADAPTIVEDIALECT_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

#include <string>

namespace adaptive {

/// Options of `adaptive-raise`.
struct RaiseOptions : mlir::PassPipelineOptions<RaiseOptions> {
  Option<int64_t> maxPosition{
      *this, "max-position",
      llvm::cl::desc("positions a sequence may have where no stored rotary "
                     "table says it; 0: 2048"),
      llvm::cl::init(0)};
};

/// Options of `adaptive-plan`.
struct PlanOptions : mlir::PassPipelineOptions<PlanOptions> {
  Option<std::string> exitLowering{
      *this, "exit-lowering",
      llvm::cl::desc("masked, grouped, or the name of any pass or pipeline "
                     "that lowers exits"),
      llvm::cl::init("grouped")};
  Option<std::string> weights{
      *this, "weights",
      llvm::cl::desc("format of the layers' matrices: f32, bf16, q8, q4"),
      llvm::cl::init("f32")};
  Option<std::string> headWeights{
      *this, "head-weights",
      llvm::cl::desc("format of head and embedding (default: that of weights, "
                     "q8 under q4)"),
      llvm::cl::init("")};
  Option<int64_t> page{*this, "page", llvm::cl::desc("positions per KV page"),
                       llvm::cl::init(64)};
};

/// Carrier ops to the model level, ending in the contract.
void addRaisePipeline(mlir::OpPassManager &pm,
                      const RaiseOptions &options = {});

/// What planning relies on, checked: the contract, and that rows end in logits.
void addModelChecks(mlir::OpPassManager &pm);

/// Model level to the planned level. Fails, with a message on `errors`, when
/// the exit lowering is unknown.
mlir::LogicalResult addPlanPipeline(mlir::OpPassManager &pm,
                                    const PlanOptions &options,
                                    llvm::raw_ostream &errors = llvm::errs());

/// Registers `adaptive-raise` and `adaptive-plan`.
void registerAdaptivePipelines();

} // namespace adaptive

#endif // ADAPTIVEDIALECT_PIPELINES_H

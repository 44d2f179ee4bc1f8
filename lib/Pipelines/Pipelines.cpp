// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Named pipelines.

#include "AdaptiveDialect/Pipelines.h"
#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/Transforms/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace adaptive;

void adaptive::addRaisePipeline(OpPassManager &pm,
                                const RaiseOptions &options) {
  pm.addPass(createSimplifyOnnx());
  RaiseRowsOptions rows;
  rows.maxPosition = options.maxPosition;
  pm.addPass(createRaiseRows(rows));
  pm.addPass(createFuseLinear());
  pm.addPass(createRaiseBlocks());
  addModelChecks(pm);
}

void adaptive::addModelChecks(OpPassManager &pm) {
  pm.addPass(createVerifyContract());
  pm.addPass(createVerifyLogits());
}

LogicalResult adaptive::addPlanPipeline(OpPassManager &pm,
                                        const PlanOptions &options,
                                        llvm::raw_ostream &errors) {
  // The table of exits outlives them, whatever the lowering does.
  pm.addPass(createRecordExits());
  // Before the exits go: lowerings carry sampling to where a row ends.
  pm.addPass(createInsertSampling());
  const std::string &lowering = options.exitLowering;
  std::string shipped = "adaptive-exits-" + lowering;
  StringRef pipeline =
      PassInfo::lookup(shipped) ? StringRef(shipped) : StringRef(lowering);
  if (failed(parsePassPipeline(pipeline, pm, errors)))
    return failure();
  VerifyLoweringOptions lowered;
  lowered.lowering = lowering;
  pm.addPass(createVerifyLowering(lowered));
  PlanKVLayoutOptions layout;
  layout.page = options.page;
  pm.addPass(createPlanKVLayout(layout));
  PackWeightsOptions packing;
  packing.format = options.weights;
  packing.head = options.headWeights;
  pm.addPass(createPackWeights(packing));
  pm.addPass(createSplitStages());
  return success();
}

void adaptive::registerAdaptivePipelines() {
  PassPipelineRegistration<RaiseOptions>(
      "adaptive-raise", "carrier ops to the adaptive model", addRaisePipeline);
  // Registered by hand: building it can fail, which the usual form cannot say.
  registerPassPipeline(
      "adaptive-plan",
      "model to stages: exits, KV levels, weight formats, depth program",
      [](OpPassManager &pm, StringRef text,
         function_ref<LogicalResult(const Twine &)> error) -> LogicalResult {
        std::unique_ptr<PlanOptions> options =
            PlanOptions::createFromString(text);
        if (!options)
          return error("options of adaptive-plan cannot be read: " + text);
        std::string messages;
        llvm::raw_string_ostream stream(messages);
        if (succeeded(addPlanPipeline(pm, *options, stream)))
          return success();
        return error("exit-lowering '" + options->exitLowering +
                     "' is unknown; accepted are masked, grouped, or a "
                     "registered pass");
      },
      [](function_ref<void(const mlir::detail::PassOptions &)> visit) {
        visit(PlanOptions());
      });
}

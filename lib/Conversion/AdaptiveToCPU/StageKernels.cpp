// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Emits the kernels of all stages in the order of their launches.

#include "LinePlanner.h"
#include "PlanContext.h"
#include "StageEmitter.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

namespace {
class Emitter {
public:
  Emitter(const CodePlan &plan, Level level, ModuleOp kernels)
      : plan(plan), level(level), kernels(kernels) {}

  LogicalResult emitLine(Block &block, const std::string &prefix,
                         const KernelContext &context, const StagePlan *stage,
                         std::vector<Step> &steps) {
    int64_t index = 0;
    for (Operation &op : block) {
      if (isa<UseOp, YieldOp>(op) || op.hasAttr(kPerLayer))
        continue;
      std::string name = prefix + "_" + std::to_string(index++) + "_" +
                         op.getName().stripDialect().str();
      SmallVector<Launch> launches;
      if (auto layers = dyn_cast<LayersOp>(op)) {
        if (failed(emitLayers(layers, name, context, *stage, steps)))
          return failure();
        continue;
      }
      if (failed(emitKernels(&op, name, wideTarget(level), context, kernels,
                             launches)))
        return failure();
      append(steps, launches);
    }
    return success();
  }

private:
  static void append(std::vector<Step> &steps, ArrayRef<Launch> launches) {
    if (steps.empty() || steps.back().layers != 0)
      steps.emplace_back();
    steps.back().launches.insert(steps.back().launches.end(), launches.begin(),
                                 launches.end());
  }

  LogicalResult emitLayers(LayersOp op, const std::string &name,
                           const KernelContext &context, const StagePlan &stage,
                           std::vector<Step> &steps) {
    const LayersPlan &layers = *stage.layers.find(op)->second;
    RowBuffer from = context.buffer(op.getInput()),
              to = context.buffer(op.getResult());
    if (!sameBuffer(from, to)) {
      SmallVector<Launch> copy;
      emitCopyKernel(op, op.getInput().getType(), from, to, name + "_in",
                     wideTarget(level), context, kernels, copy);
      append(steps, copy);
    }
    PlanContext inner(plan, layers.line, &layers);
    std::vector<Step> body;
    BlockOp block = layers.block;
    if (failed(emitLine(block.getBody().front(), name, inner, nullptr, body)))
      return failure();
    Step loop;
    for (Step &step : body)
      loop.launches.insert(loop.launches.end(), step.launches.begin(),
                           step.launches.end());
    for (Operation *user : op.getResult().getUsers())
      // Only the select behind these layers; others may read the result as the
      // state they freeze.
      if (user->hasAttr(kPerLayer) &&
          cast<SelectOp>(user).getFalseValue() == op.getResult()) {
        SmallVector<Launch> restore;
        if (failed(emitKernels(user, name + "_keep", wideTarget(level), context,
                               kernels, restore)))
          return failure();
        loop.launches.insert(loop.launches.end(), restore.begin(),
                             restore.end());
      }
    loop.layers = op.getNumLayers();
    loop.firstWeight = layers.firstWeight;
    loop.weightStride = layers.weightStride;
    loop.firstInLevel = layers.firstInLevel;
    if (loop.layers > 0)
      steps.push_back(std::move(loop));
    return success();
  }

  const CodePlan &plan;
  Level level;
  ModuleOp kernels;
};
} // namespace

FailureOr<std::vector<StageCode>>
cpu::emitStageKernels(const CodePlan &plan, Level level, ModuleOp kernels) {
  std::vector<StageCode> stages;
  for (const auto &stage : plan.stages) {
    StageOp op = stage->op;
    StageCode code{
        ("ee_stage_" + op.getSymName()).str(), int64_t(op.getDepth()), {}};
    PlanContext context(plan, stage->line, nullptr);
    Emitter emitter(plan, level, kernels);
    if (failed(emitter.emitLine(op.getBody().front(), op.getSymName().str(),
                                context, stage.get(), code.steps)))
      return failure();
    stages.push_back(std::move(code));
  }
  return stages;
}

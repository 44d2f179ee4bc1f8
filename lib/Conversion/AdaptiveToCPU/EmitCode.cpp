// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels and stage functions in the LLVM dialect, and from there to code.

#include "AdaptiveDialect/Conversion/CPU/MachineCode.h"
#include "StageEmitter.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

/// Kernels use scf, arith, math, vector and x86vector over LLVM pointers.
static LogicalResult lowerToLLVMDialect(ModuleOp module) {
  PassManager pm(module->getName());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  ConvertVectorToLLVMPassOptions vectors;
  vectors.x86Vector = true;
  pm.addPass(createConvertVectorToLLVMPass(vectors));
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

static std::string
printed(llvm::function_ref<void(llvm::raw_ostream &)> print) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  print(stream);
  return text;
}

FailureOr<std::string> cpu::emitCode(ModuleOp module, const CodePlan &plan,
                                     Level level, CodeStage stop) {
  MLIRContext *context = module.getContext();
  context->loadDialect<arith::ArithDialect, cf::ControlFlowDialect,
                       LLVM::LLVMDialect, math::MathDialect, scf::SCFDialect,
                       vector::VectorDialect, x86vector::X86VectorDialect>();
  OwningOpRef<ModuleOp> kernels = ModuleOp::create(module.getLoc());
  auto stages = emitStageKernels(plan, level, *kernels);
  if (failed(stages))
    return failure();
  if (stop == CodeStage::Kernel)
    return printed([&](llvm::raw_ostream &os) { kernels->print(os); });
  if (failed(lowerToLLVMDialect(*kernels)))
    return failure();
  emitStageFunctions(*stages, level, *kernels);

  MachineCodeOptions options;
  // Only the stage functions leave the shared object.
  options.isExported = [](StringRef name) {
    return name.starts_with("ee_stage_");
  };
  return emitMachineCode(*kernels, level, stop, options);
}

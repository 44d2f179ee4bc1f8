// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels and stage functions to LLVM IR, machine code and a shared object.

#include "SharedObject.h"
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
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

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

static const char *targetCPU(Level level) {
  return level == Level::AVX512 ? "x86-64-v4" : "x86-64-v3";
}
static const char *targetFeatures(Level level) {
  return level == Level::AVX512 ? "+avx512bf16,+avx512vnni,-prefer-256-bit"
                                : "";
}

static std::unique_ptr<llvm::TargetMachine> makeTarget(Level level,
                                                       std::string &error) {
  static bool initialised = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)initialised;
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  // Multiply-adds are written where they are meant, never contracted.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, targetCPU(level), targetFeatures(level), options,
      llvm::Reloc::PIC_, std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

static void optimize(llvm::Module &module, llvm::TargetMachine &target) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graph;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  // Kernels are vector code already; unrolling or vectorising the scalar loops
  // around them costs compile time and buys nothing.
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(&target, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graph, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2)
      .run(module, modules);
}

static std::optional<llvm::SmallString<0>>
emitFile(llvm::Module &module, llvm::TargetMachine &target,
         llvm::CodeGenFileType type) {
  llvm::SmallString<0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (target.addPassesToEmitFile(passes, stream, nullptr, type))
    return std::nullopt;
  passes.run(module);
  return bytes;
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

  DialectRegistry registry;
  registerAllToLLVMIRTranslations(registry);
  context->appendDialectRegistry(registry);
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> code =
      translateModuleToLLVMIR(*kernels, llvmContext);
  if (!code)
    return failure();
  std::string error;
  std::unique_ptr<llvm::TargetMachine> target = makeTarget(level, error);
  if (!target)
    return module.emitError("no code generator for x86-64: ") << error;
  code->setTargetTriple(target->getTargetTriple());
  code->setDataLayout(target->createDataLayout());
  for (llvm::Function &function : *code) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", targetCPU(level));
    function.addFnAttr("target-features", targetFeatures(level));
    function.addFnAttr("prefer-vector-width",
                       level == Level::AVX512 ? "512" : "256");
    function.addFnAttr("frame-pointer", "none");
    // Only the stage functions leave the shared object.
    if (!function.getName().starts_with("ee_stage_"))
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
  }
  optimize(*code, *target);
  if (stop == CodeStage::LLVM)
    return printed([&](llvm::raw_ostream &os) { code->print(os, nullptr); });
  auto bytes =
      emitFile(*code, *target,
               stop == CodeStage::Assembly ? llvm::CodeGenFileType::AssemblyFile
                                           : llvm::CodeGenFileType::ObjectFile);
  if (!bytes)
    return module.emitError("the code generator cannot write this file type");
  if (stop == CodeStage::Assembly)
    return std::string(bytes->str());
  return linkSharedObject(module, bytes->str());
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From lane kernels to PTX text, in this process: the LLVM dialect, LLVM IR for
// NVPTX, LLVM's code generator.

#include "AdaptiveDialect/Conversion/NVPTX/Ptx.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
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

namespace {

/// A GPU and the oldest PTX version that LLVM makes for it: what drivers must
/// know is to be as little as possible. LLVM ends the process for a pair it
/// does not know, so nothing else may reach it.
struct Machine {
  StringRef sm;
  const char *version;
};
constexpr Machine machines[] = {{"sm_80", "+ptx70"},
                                {"sm_90", "+ptx78"},
                                {"sm_100a", "+ptx86"},
                                {"sm_120", "+ptx87"}};

} // namespace

ArrayRef<StringRef> nvptx::knownSMs() {
  static const SmallVector<StringRef> names = [] {
    SmallVector<StringRef> list;
    for (const Machine &machine : machines)
      list.push_back(machine.sm);
    return list;
  }();
  return names;
}

static LogicalResult lowerToLLVMDialect(ModuleOp module) {
  PassManager pm(module->getName());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

static std::unique_ptr<llvm::TargetMachine> makeTarget(const Machine &machine,
                                                       std::string &error) {
  static const bool initialised = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)initialised;
  llvm::Triple triple("nvptx64-nvidia-cuda");
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  // Strict also makes LLVM write .rn, which ptxas does not contract.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      triple, machine.sm, machine.version, options, std::nullopt, std::nullopt,
      llvm::CodeGenOptLevel::Aggressive));
}

static void optimize(llvm::Module &module, llvm::TargetMachine &target) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graph;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = false;
  llvm::PassBuilder builder(&target, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graph, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2)
      .run(module, modules);
}

FailureOr<std::string> nvptx::emitPtx(ModuleOp original, StringRef sm) {
  const Machine *machine =
      llvm::find_if(machines, [&](const Machine &m) { return m.sm == sm; });
  if (machine == std::end(machines))
    return original.emitError("there is no PTX for '")
           << sm << "'; known are " << llvm::join(knownSMs(), ", ");
  MLIRContext *context = original.getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);
  context->loadDialect<arith::ArithDialect, cf::ControlFlowDialect,
                       LLVM::LLVMDialect, scf::SCFDialect>();
  OwningOpRef<ModuleOp> module = original.clone();
  if (failed(lowerToLLVMDialect(*module)))
    return failure();
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> code =
      translateModuleToLLVMIR(*module, llvmContext);
  if (!code)
    return failure();
  std::string error;
  std::unique_ptr<llvm::TargetMachine> target = makeTarget(*machine, error);
  if (!target)
    return original.emitError("no code generator for NVPTX: ") << error;
  code->setTargetTriple(target->getTargetTriple());
  code->setDataLayout(target->createDataLayout());
  optimize(*code, *target);

  llvm::SmallString<0> text;
  llvm::raw_svector_ostream stream(text);
  llvm::legacy::PassManager passes;
  if (target->addPassesToEmitFile(passes, stream, nullptr,
                                  llvm::CodeGenFileType::AssemblyFile))
    return original.emitError("the code generator cannot write PTX");
  passes.run(*code);
  if (std::optional<std::string> problem = findInexact(text))
    return original.emitError(*problem);
  return std::string(text);
}

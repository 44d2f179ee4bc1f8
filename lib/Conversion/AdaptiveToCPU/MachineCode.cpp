// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the LLVM dialect to LLVM IR, machine code and a shared object.

#include "AdaptiveDialect/Conversion/CPU/MachineCode.h"
#include "MemoryFunctions.h"
#include "SharedObject.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"
#include "mlir/Target/LLVMIR/Export.h"
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

void cpu::emitLoaderConstants(ModuleOp module, llvm::StringRef abiName,
                              int32_t abi, std::string profile) {
  OpBuilder builder(module.getBodyRegion());
  builder.setInsertionPointToEnd(module.getBody());
  Location loc = module.getLoc();
  LLVM::GlobalOp::create(builder, loc, builder.getI32Type(),
                         /*isConstant=*/true, LLVM::Linkage::External, abiName,
                         builder.getI32IntegerAttr(abi));
  profile.push_back('\0');
  auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), profile.size());
  LLVM::GlobalOp::create(builder, loc, type, /*isConstant=*/true,
                         LLVM::Linkage::External, "ee_profile",
                         builder.getStringAttr(profile));
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

static void optimize(llvm::Module &module, llvm::TargetMachine &target,
                     bool vectorizeLoops) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graph;
  llvm::ModuleAnalysisManager modules;
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = vectorizeLoops;
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

FailureOr<std::string> cpu::emitMachineCode(ModuleOp module, Level level,
                                            CodeStage stop,
                                            const MachineCodeOptions &options) {
  DialectRegistry registry;
  registerAllToLLVMIRTranslations(registry);
  module.getContext()->appendDialectRegistry(registry);
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> code =
      translateModuleToLLVMIR(module, llvmContext);
  if (!code)
    return failure();
  std::string error;
  std::unique_ptr<llvm::TargetMachine> target = makeTarget(level, error);
  if (!target)
    return module.emitError("no code generator for x86-64: ") << error;
  code->setTargetTriple(target->getTargetTriple());
  code->setDataLayout(target->createDataLayout());
  for (llvm::Function &function : *code)
    if (!function.isDeclaration() && !options.isExported(function.getName()))
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
  if (options.memoryFunctions && failed(addMemoryFunctions(*code)))
    return module.emitError("the memory functions cannot be made");
  for (llvm::Function &function : *code) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", targetCPU(level));
    function.addFnAttr("target-features", targetFeatures(level));
    function.addFnAttr("prefer-vector-width",
                       level == Level::AVX512 ? "512" : "256");
    function.addFnAttr("frame-pointer", "none");
  }
  optimize(*code, *target, options.vectorizeLoops);
  if (stop == CodeStage::LLVM) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    code->print(stream, nullptr);
    return text;
  }
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

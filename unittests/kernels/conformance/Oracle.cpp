// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The decomposition, upstream's way to LLVM IR, then the JIT.

#include "Oracle.h"

#include "Decomposition.h"

#include "AdaptiveDialect/IR/Adaptive.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Pipelines/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/FuncBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/Linalg/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Tensor/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/Support/TargetSelect.h"

#include <cstdlib>

using namespace mlir;
using namespace conformance;

namespace {

void fillRegistry(DialectRegistry &registry) {
  registry
      .insert<adaptive::AdaptiveDialect, arith::ArithDialect,
              bufferization::BufferizationDialect, func::FuncDialect,
              linalg::LinalgDialect, LLVM::LLVMDialect, math::MathDialect,
              memref::MemRefDialect, scf::SCFDialect, tensor::TensorDialect>();
  arith::registerBufferizableOpInterfaceExternalModels(registry);
  bufferization::func_ext::registerBufferizableOpInterfaceExternalModels(
      registry);
  linalg::registerBufferizableOpInterfaceExternalModels(registry);
  scf::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerBufferizableOpInterfaceExternalModels(registry);
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
}

/// A memref descriptor, as words: base, aligned, offset, sizes, strides.
struct Descriptor {
  explicit Descriptor(size_t rank) : rank(rank), words(3 + 2 * rank, 0) {}
  explicit Descriptor(const Tensor &tensor) : Descriptor(tensor.sizes.size()) {
    words[0] = words[1] = int64_t(reinterpret_cast<intptr_t>(tensor.data));
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0;) {
      words[3 + i] = tensor.sizes[i];
      words[3 + rank + i] = stride;
      stride *= tensor.sizes[i];
    }
  }
  void *base() const { return reinterpret_cast<void *>(words[0]); }
  /// What it describes; results are dense and start at their buffer.
  Tensor tensor() const {
    return {reinterpret_cast<void *>(words[1]),
            {words.begin() + 3, words.begin() + 3 + long(rank)}};
  }

  size_t rank;
  std::vector<int64_t> words;
};

using Entry = void (*)(void **);

/// Compiles a function to `void call(void **arguments)`, where an argument
/// points to a descriptor and the first one, if there are results, to those of
/// the results in a row.
class Compiled {
public:
  explicit Compiled(Decomposition &source)
      : context(source.context), module(*source.module) {
    static const bool initialised = [] {
      llvm::InitializeNativeTarget();
      llvm::InitializeNativeTargetAsmPrinter();
      return true;
    }();
    (void)initialised;
    DialectRegistry registry;
    fillRegistry(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    module.getBody()->front().setAttr(
        LLVM::LLVMDialect::getEmitCWrapperAttrName(), UnitAttr::get(&context));
    lower();
    link();
  }

  Entry entry = nullptr;

private:
  void lower() {
    PassManager pm(&context);
    bufferization::OneShotBufferizePassOptions options;
    options.bufferizeFunctionBoundaries = true;
    options.functionBoundaryTypeConversion =
        bufferization::LayoutMapOption::IdentityLayoutMap;
    pm.addPass(bufferization::createOneShotBufferizePass(options));
    bufferization::BufferDeallocationPipelineOptions freeing;
    bufferization::buildBufferDeallocationPipeline(pm, freeing);
    pm.addPass(createConvertBufferizationToMemRefPass());
    pm.addNestedPass<func::FuncOp>(createConvertLinalgToLoopsPass());
    pm.addPass(memref::createExpandStridedMetadataPass());
    pm.addPass(createLowerAffinePass());
    pm.addPass(createSCFToControlFlowPass());
    pm.addPass(createConvertMathToLibmPass());
    pm.addPass(createConvertMathToLLVMPass());
    pm.addPass(createFinalizeMemRefToLLVMConversionPass());
    pm.addPass(createConvertFuncToLLVMPass());
    pm.addPass(createArithToLLVMConversionPass());
    pm.addPass(createConvertControlFlowToLLVMPass());
    pm.addPass(createReconcileUnrealizedCastsPass());
    if (failed(pm.run(module)))
      die("the decomposition cannot be lowered");
  }

  void link() {
    auto llvmContext = std::make_unique<llvm::LLVMContext>();
    auto code = translateModuleToLLVMIR(module, *llvmContext);
    if (!code)
      die("no LLVM IR");
    addEntry(*code);
    jit = llvm::cantFail(llvm::orc::LLJITBuilder().create());
    jit->getMainJITDylib().addGenerator(llvm::cantFail(
        llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
            jit->getDataLayout().getGlobalPrefix())));
    llvm::cantFail(jit->addIRModule(
        llvm::orc::ThreadSafeModule(std::move(code), std::move(llvmContext))));
    entry = llvm::cantFail(jit->lookup("call")).toPtr<Entry>();
  }

  /// A function of one form, whatever the number of arguments.
  static void addEntry(llvm::Module &code) {
    llvm::Function *inner = code.getFunction("_mlir_ciface_main");
    auto *pointer = llvm::PointerType::getUnqual(code.getContext());
    auto *call = llvm::Function::Create(
        llvm::FunctionType::get(llvm::Type::getVoidTy(code.getContext()),
                                {pointer}, false),
        llvm::Function::ExternalLinkage, "call", code);
    llvm::IRBuilder<> b(llvm::BasicBlock::Create(code.getContext(), "", call));
    llvm::SmallVector<llvm::Value *> arguments;
    for (unsigned i = 0; i < inner->arg_size(); ++i) {
      auto *place = b.CreateConstGEP1_64(pointer, call->getArg(0), i);
      arguments.push_back(b.CreateLoad(pointer, place));
    }
    b.CreateCall(inner, arguments);
    b.CreateRetVoid();
  }

  MLIRContext &context;
  ModuleOp module;
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

} // namespace

Outputs Oracle::run(const OpCase &op, const Inputs &inputs) {
  Decomposition source(op);
  Compiled code(source);
  Arguments arguments(op, inputs, source.columns);
  std::vector<Descriptor> given;
  for (const Tensor &tensor : arguments.list)
    given.emplace_back(tensor);
  // Descriptors of the results, one behind the other.
  std::vector<int64_t> returned;
  for (RankedTensorType type : source.types)
    returned.resize(returned.size() + 3 + 2 * size_t(type.getRank()));
  std::vector<void *> pointers;
  if (!returned.empty())
    pointers.push_back(returned.data());
  for (Descriptor &d : given)
    pointers.push_back(d.words.data());
  code.entry(pointers.data());

  std::vector<Tensor> results;
  std::set<void *> mine;
  size_t at = 0;
  for (RankedTensorType type : source.types) {
    Descriptor d(size_t(type.getRank()));
    std::copy_n(returned.begin() + long(at), d.words.size(), d.words.begin());
    at += d.words.size();
    results.push_back(d.tensor());
    if (!arguments.owns(d.base()))
      mine.insert(d.base());
  }
  Outputs out = source.outputs(results);
  for (void *buffer : mine)
    std::free(buffer);
  return out;
}

std::set<std::string> conformance::registeredOps() {
  MLIRContext context;
  context.getOrLoadDialect<adaptive::AdaptiveDialect>();
  std::set<std::string> names;
  for (RegisteredOperationName name : context.getRegisteredOperations())
    if (name.getDialectNamespace() == "adaptive")
      names.insert(name.stripDialect().str());
  return names;
}

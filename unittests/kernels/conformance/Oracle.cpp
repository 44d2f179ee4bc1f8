// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-to-linalg, then upstream's way to LLVM IR, then the JIT.

#include "Oracle.h"

#include "AdaptiveDialect/Conversion/Passes.h"
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
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/Support/TargetSelect.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace conformance;

namespace {

[[noreturn]] void die(const std::string &what) {
  std::fprintf(stderr, "conformance oracle: %s\n", what.c_str());
  std::exit(2);
}

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
class Descriptor {
public:
  explicit Descriptor(size_t rank) : rank(rank), words(3 + 2 * rank, 0) {}
  Descriptor(const void *data, const std::vector<int64_t> &sizes)
      : Descriptor(sizes.size()) {
    words[0] = words[1] = int64_t(reinterpret_cast<intptr_t>(data));
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0;) {
      words[3 + i] = sizes[i];
      words[3 + rank + i] = stride;
      stride *= sizes[i];
    }
  }
  int64_t elements() const {
    int64_t count = 1;
    for (size_t i = 0; i < rank; ++i)
      count *= words[3 + i];
    return count;
  }
  void *base() const { return reinterpret_cast<void *>(words[0]); }
  template <typename T> const T *data() const {
    return reinterpret_cast<const T *>(words[1]) + words[2];
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
  explicit Compiled(const std::string &text) {
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
    module = parseSourceString<ModuleOp>(text, &context);
    if (!module)
      die("cannot parse\n" + text);
    decompose();
    lower();
    link();
  }

  /// `adaptive.column` of the arguments and results that the pass added.
  std::vector<std::string> columns, changed;
  std::vector<RankedTensorType> results;
  Entry entry = nullptr;

private:
  void decompose() {
    PassManager pm(&context);
    pm.addPass(adaptive::createAdaptiveToLinalg());
    pm.addPass(createCanonicalizerPass());
    pm.addPass(createCSEPass());
    if (failed(pm.run(*module)))
      die("no decomposition");
    auto function = cast<func::FuncOp>(module->getBody()->front());
    auto name = [](Attribute attribute) {
      return cast<StringAttr>(attribute).getValue().str();
    };
    for (unsigned i = 0; i < function.getNumArguments(); ++i)
      if (auto attribute = function.getArgAttr(i, "adaptive.column"))
        columns.push_back(name(attribute));
    for (unsigned i = 0; i < function.getNumResults(); ++i) {
      results.push_back(cast<RankedTensorType>(function.getResultTypes()[i]));
      if (auto attribute = function.getResultAttr(i, "adaptive.column"))
        changed.push_back(name(attribute));
    }
    function->setAttr(LLVM::LLVMDialect::getEmitCWrapperAttrName(),
                      UnitAttr::get(&context));
  }

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
    if (failed(pm.run(*module)))
      die("the decomposition cannot be lowered");
  }

  void link() {
    auto llvmContext = std::make_unique<llvm::LLVMContext>();
    auto code = translateModuleToLLVMIR(*module, *llvmContext);
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

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

std::string functionText(const OpCase &op) {
  std::string text = "func.func @main(", names, types;
  bool first = true;
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    text += std::string(first ? "%" : ", %") + char('a' + i) + ": " +
            op.parameters[i].type();
    first = false;
  }
  for (size_t i = 0; i < op.results.size(); ++i) {
    names += (i ? ", %r" : " %r") + std::to_string(i);
    types += (i ? ", " : "") + op.results[i].type();
  }
  if (op.results.empty())
    return text + ") {\n" + op.text + "\nreturn\n}";
  return text + ") -> (" + types + ") {\n" + op.text + "\nreturn" + names +
         " : " + types + "\n}";
}

/// The arguments of a call. Buffers live as long as this: the code may write
/// into what it is given, so it is given copies.
class Arguments {
public:
  Arguments(const OpCase &op, const Inputs &inputs,
            const std::vector<std::string> &columns) {
    for (size_t i = 0; i < op.parameters.size(); ++i)
      parameter(op.parameters[i], inputs, i);
    int64_t width =
        int64_t(inputs.keys.size()) / (Inputs::sequences * Inputs::positions);
    std::vector<int64_t> dense = {Inputs::sequences, Inputs::positions, width};
    for (const std::string &name : columns) {
      if (name == "keys")
        add(inputs.keys, dense);
      else if (name == "values")
        add(inputs.values, dense);
      else if (name == "policies")
        add(inputs.policies, {int64_t(inputs.policies.size()), 64});
      else
        add(inputs.columns.at(name), {inputs.rows});
    }
  }

  std::vector<Descriptor> list;
  bool owns(const void *pointer) const {
    for (const auto &buffer : buffers)
      if (buffer.get() == pointer)
        return true;
    return false;
  }

private:
  template <typename T>
  void add(const std::vector<T> &values, const std::vector<int64_t> &sizes) {
    size_t bytes = values.size() * sizeof(T);
    buffers.emplace_back(new char[bytes + 64]);
    std::memcpy(buffers.back().get(), values.data(), bytes);
    list.emplace_back(buffers.back().get(), sizes);
  }

  void parameter(const Parameter &p, const Inputs &inputs, size_t i) {
    switch (p.kind) {
    case Parameter::Rows:
      return add(inputs.floats[i], {inputs.rows, p.shape[0]});
    case Parameter::Scalars:
      return add(inputs.floats[i], {inputs.rows});
    case Parameter::Ids:
      return add(inputs.ints[i], {inputs.rows});
    case Parameter::Mask:
      return add(
          std::vector<int8_t>(inputs.ints[i].begin(), inputs.ints[i].end()),
          {inputs.rows});
    case Parameter::Weight:
      return add(inputs.floats[i], p.shape);
    case Parameter::KV:
      return; // columns of the decomposition
    }
  }

  std::vector<std::unique_ptr<char[]>> buffers;
};

std::vector<double> numbers(const Descriptor &d, Type element) {
  std::vector<double> list;
  for (int64_t i = 0; i < d.elements(); ++i)
    list.push_back(element.isF32()        ? double(d.data<float>()[i])
                   : element.isInteger(1) ? double(d.data<int8_t>()[i] & 1)
                                          : double(d.data<int32_t>()[i]));
  return list;
}

} // namespace

Outputs Oracle::run(const OpCase &op, const Inputs &inputs) {
  Compiled code(functionText(op));
  Arguments arguments(op, inputs, code.columns);
  // Descriptors of the results, one behind the other.
  std::vector<int64_t> returned;
  for (RankedTensorType type : code.results)
    returned.resize(returned.size() + 3 + 2 * size_t(type.getRank()));
  std::vector<void *> pointers;
  if (!returned.empty())
    pointers.push_back(returned.data());
  for (Descriptor &d : arguments.list)
    pointers.push_back(d.words.data());
  code.entry(pointers.data());

  Outputs out;
  size_t at = 0, named = code.results.size() - code.changed.size();
  std::set<void *> mine;
  for (size_t i = 0; i < code.results.size(); ++i) {
    Descriptor d(size_t(code.results[i].getRank()));
    std::copy_n(returned.begin() + long(at), d.words.size(), d.words.begin());
    at += d.words.size();
    auto list = numbers(d, code.results[i].getElementType());
    std::string name = i < named ? "" : code.changed[i - named];
    if (name == "depth")
      out.depth.assign(list.begin(), list.end());
    else if (name == "keys")
      out.keys.assign(list.begin(), list.end());
    else if (name == "values")
      out.values.assign(list.begin(), list.end());
    else
      out.results.push_back(std::move(list));
    if (!arguments.owns(d.base()))
      mine.insert(d.base());
  }
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

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From function form to code: tensors to buffers, linalg to loops, loops to
// LLVM.

#include "AdaptiveDialect/Conversion/CPU/Function.h"
#include "AdaptiveDialect/Conversion/CPU/MachineCode.h"
#include "AdaptiveDialect/Conversion/Passes.h"
#include "EntryPoint.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/Transforms/BufferDeallocationOpInterfaceImpl.h"
#include "mlir/Dialect/Arith/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Bufferization/Pipelines/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/FuncBufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/ControlFlow/Transforms/BufferDeallocationOpInterfaceImpl.h"
#include "mlir/Dialect/ControlFlow/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/Linalg/Transforms/AllInterfaces.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/AllocationOpInterfaceImpl.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/SCF/Transforms/BufferDeallocationOpInterfaceImpl.h"
#include "mlir/Dialect/SCF/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/Transforms/BufferizableOpInterfaceImpl.h"
#include "mlir/Dialect/Tensor/Transforms/SubsetInsertionOpInterfaceImpl.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

/// Checked tensors to buffers that are allocated and released explicitly.
static void addBufferPasses(OpPassManager &pm) {
  pm.addPass(createVerifyFunction());
  pm.addPass(createWeightsToArguments());
  pm.addPass(createConvertElementwiseToLinalgPass());
  pm.addPass(createPrepareFunction());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(bufferization::createEmptyTensorEliminationPass());
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  options.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  options.unknownTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  options.allowReturnAllocsFromLoops = true;
  pm.addPass(bufferization::createOneShotBufferizePass(options));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  bufferization::buildBufferDeallocationPipeline(pm);
  // Releases stand at the ends of blocks; they move to the last use.
  pm.addNestedPass<func::FuncOp>(
      bufferization::createOptimizeAllocationLivenessPass());
  pm.addPass(createConvertBufferizationToMemRefPass());
}

/// Buffers to loops over scalars that the code generator knows.
static void addLoopPasses(OpPassManager &pm, Level level) {
  // Sums of a tile, a row of the right side and one of the left fill the
  // registers: 16 of 8 floats, or 32 of 16.
  TileContractionsOptions tiles;
  tiles.rows = level == Level::AVX512 ? 12 : 6;
  tiles.columns = level == Level::AVX512 ? 32 : 16;
  pm.addPass(createTileContractions(tiles));
  pm.addPass(createOrderLoops());
  pm.addNestedPass<func::FuncOp>(createConvertLinalgToLoopsPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  // f16 and bf16 compute in f32, rounded after each op. The flags this leaves
  // (that roundings may be dropped) go in the next pass, before anything folds.
  math::MathExtendToSupportedTypesOptions wide;
  wide.targetTypeStr = "f32";
  pm.addPass(math::createMathExtendToSupportedTypes(wide));
  arith::ArithEmulateUnsupportedFloatsOptions emulation;
  emulation.sourceTypeStrs = {"bf16", "f16"};
  emulation.targetTypeStr = "f32";
  pm.addPass(arith::createArithEmulateUnsupportedFloats(emulation));
  // Divisions that round are made of plain ones, which are then guarded.
  arith::ArithExpandOpsPassOptions plain;
  pm.addPass(arith::createArithExpandOpsPass(plain));
  pm.addPass(createExpandMath());
  arith::ArithExpandOpsPassOptions bf16;
  bf16.includeBf16 = true;
  pm.addPass(arith::createArithExpandOpsPass(bf16));
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addNestedPass<func::FuncOp>(createLoopInvariantCodeMotionPass());
}

/// Loops to the LLVM dialect.
static void addLLVMPasses(OpPassManager &pm) {
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createLowerRuntimeCalls());
  ConvertVectorToLLVMPassOptions vectors;
  pm.addPass(createConvertVectorToLLVMPass(vectors));
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
}

static LogicalResult run(ModuleOp module,
                         llvm::function_ref<void(OpPassManager &)> build) {
  PassManager pm(module.getContext(), ModuleOp::getOperationName());
  build(pm);
  return pm.run(module);
}

static SmallVector<MemRefType> memrefs(TypeRange types) {
  return llvm::map_to_vector(types,
                             [](Type type) { return cast<MemRefType>(type); });
}

/// What bufferization has to know about the dialects, however the caller made
/// its context.
static void registerInterfaces(MLIRContext *context) {
  DialectRegistry registry;
  registry.insert<affine::AffineDialect, arith::ArithDialect,
                  bufferization::BufferizationDialect, cf::ControlFlowDialect,
                  func::FuncDialect, linalg::LinalgDialect, LLVM::LLVMDialect,
                  math::MathDialect, memref::MemRefDialect, scf::SCFDialect,
                  tensor::TensorDialect, vector::VectorDialect>();
  arith::registerBufferDeallocationOpInterfaceExternalModels(registry);
  arith::registerBufferizableOpInterfaceExternalModels(registry);
  bufferization::func_ext::registerBufferizableOpInterfaceExternalModels(
      registry);
  cf::registerBufferDeallocationOpInterfaceExternalModels(registry);
  cf::registerBufferizableOpInterfaceExternalModels(registry);
  linalg::registerAllDialectInterfaceImplementations(registry);
  memref::registerAllocationOpInterfaceExternalModels(registry);
  scf::registerBufferDeallocationOpInterfaceExternalModels(registry);
  scf::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerBufferizableOpInterfaceExternalModels(registry);
  tensor::registerSubsetOpInterfaceExternalModels(registry);
  context->appendDialectRegistry(registry);
  context->loadAllAvailableDialects();
}

FailureOr<std::string> cpu::compileFunction(ModuleOp original, Level level,
                                            CodeStage stop) {
  registerInterfaces(original.getContext());
  OwningOpRef<ModuleOp> module = original.clone();
  if (failed(run(*module, addBufferPasses)) ||
      failed(
          run(*module, [&](OpPassManager &pm) { addLoopPasses(pm, level); })))
    return failure();
  // Weights are arguments now; their symbols mean nothing to LLVM.
  for (Operation &op : llvm::make_early_inc_range(*module->getBody()))
    if (isa<WeightOp, TableOp>(op))
      op.erase();
  if (stop == CodeStage::Kernel) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    module->print(stream);
    return text;
  }
  func::FuncOp main = *module->getOps<func::FuncOp>().begin();
  SmallVector<MemRefType> operands = memrefs(main.getArgumentTypes()),
                          results = memrefs(main.getResultTypes());
  size_t inputs = functionSignature(original).inputs.size();
  if (failed(run(*module, addLLVMPasses)))
    return failure();
  emitEntryPoint(*module, operands, inputs, results, level);
  MachineCodeOptions options;
  options.isExported = [](StringRef name) { return name == entrySymbol; };
  options.vectorizeLoops = true;
  options.memoryFunctions = true;
  return emitMachineCode(*module, level, stop, options);
}

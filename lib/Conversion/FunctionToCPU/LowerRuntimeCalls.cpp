// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-lower-runtime-calls: allocation, release and failed assertions go to
// the runtime (ee/function_abi.h).
//
//   func @main(%x: memref<?xf32>) { cf.assert %ok, "msg"; memref.alloc(%n) ...
//   }
//   -> func @main(%args: !llvm.ptr, %x: memref<?xf32>) {
//        cf.cond_br %ok, ^next, ^failed("msg")
//      ^next: %p = llvm.call @ee_allocate(%args, dims, rank, 4); null? ^failed
//      ^failed(%why): args->error = %why; return poison }

#include "AdaptiveDialect/Conversion/Passes.h"

#include "ee/function_abi.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "llvm/Support/MathExtras.h"

#include <cstddef>

namespace adaptive {
#define GEN_PASS_DEF_LOWERRUNTIMECALLS
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
class Lowering {
public:
  explicit Lowering(func::FuncOp main)
      : main(main), module(main->getParentOfType<ModuleOp>()),
        builder(main.getContext()), loc(main.getLoc()),
        ptr(LLVM::LLVMPointerType::get(main.getContext())),
        i64(builder.getI64Type()), types(main.getContext()) {}

  LogicalResult run() {
    if (failed(main.insertArgument(0, ptr, {}, loc)))
      return failure();
    args = main.getArgument(0);
    declareHelpers();
    makeFailureBlock();
    SmallVector<Operation *> work;
    main.walk([&](Operation *op) {
      if (isa<memref::AllocOp, memref::DeallocOp, cf::AssertOp>(op))
        work.push_back(op);
    });
    for (Operation *op : work) {
      builder.setInsertionPoint(op);
      loc = op->getLoc();
      if (auto alloc = dyn_cast<memref::AllocOp>(op))
        lower(alloc);
      else if (auto dealloc = dyn_cast<memref::DeallocOp>(op))
        lower(dealloc);
      else
        lower(cast<cf::AssertOp>(op));
    }
    return success();
  }

private:
  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(builder, loc, i64,
                                    builder.getI64IntegerAttr(value));
  }
  Value field(Value base, int64_t offset) {
    return LLVM::GEPOp::create(
        builder, loc, ptr, builder.getI8Type(), base,
        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(offset)});
  }
  Value load(Value base, int64_t offset) {
    return LLVM::LoadOp::create(builder, loc, ptr, field(base, offset));
  }

  /// The calls through function pointers, behind functions of their own: the
  /// result of ee_allocate can be marked as memory that nothing else points to.
  void declareHelpers() {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(module.getBody());
    auto noinline_ = builder.getArrayAttr(
        {builder.getStringAttr("noinline"), builder.getStringAttr("nounwind")});
    auto make = [&](StringRef name, Type result, ArrayRef<Type> operands) {
      OpBuilder::InsertionGuard guard(builder);
      auto function = LLVM::LLVMFuncOp::create(
          builder, loc, name, LLVM::LLVMFunctionType::get(result, operands));
      function.setPassthroughAttr(noinline_);
      builder.setInsertionPointToStart(function.addEntryBlock(builder));
      Value memory =
          load(function.getArgument(0), offsetof(ee_function_args, memory));
      bool allocates = !isa<LLVM::LLVMVoidType>(result);
      Value callee = load(memory, allocates ? offsetof(ee_memory, allocate)
                                            : offsetof(ee_memory, release));
      SmallVector<Value> values{callee, memory};
      SmallVector<Type> parameters{ptr};
      for (BlockArgument argument : function.getArguments().drop_front()) {
        values.push_back(argument);
        parameters.push_back(argument.getType());
      }
      auto call = LLVM::CallOp::create(
          builder, loc, LLVM::LLVMFunctionType::get(result, parameters),
          values);
      LLVM::ReturnOp::create(builder, loc, call.getResults());
      return function;
    };
    allocate = make("ee_allocate", ptr, {ptr, ptr, i64, i64});
    allocate.setResultAttr(0, LLVM::LLVMDialect::getNoAliasAttrName(),
                           builder.getUnitAttr());
    release = make("ee_release", LLVM::LLVMVoidType::get(builder.getContext()),
                   {ptr, ptr});
  }

  /// ^failed(%why): the only way out but the return.
  void makeFailureBlock() {
    OpBuilder::InsertionGuard guard(builder);
    failed_ = builder.createBlock(&main.getBody(), main.getBody().end(), {ptr},
                                  {loc});
    LLVM::StoreOp::create(builder, loc, failed_->getArgument(0),
                          field(args, offsetof(ee_function_args, error)));
    SmallVector<Value> results;
    for (Type type : main.getResultTypes())
      results.push_back(ub::PoisonOp::create(builder, loc, type));
    func::ReturnOp::create(builder, loc, results);
  }

  /// Continues after `op` where `ok` holds; `builder` then stands there.
  void branchUnless(Operation *op, Value ok, Value why) {
    Block *before = op->getBlock();
    Block *after = before->splitBlock(op);
    builder.setInsertionPointToEnd(before);
    cf::CondBranchOp::create(builder, loc, ok, after, ValueRange{}, failed_,
                             ValueRange{why});
    builder.setInsertionPoint(op);
  }

  /// Address of a message, one global per text.
  Value message(StringRef text) {
    LLVM::GlobalOp &global = messages[text];
    if (!global) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(module.getBody());
      std::string bytes = text.str();
      bytes.push_back('\0');
      auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), bytes.size());
      global = LLVM::GlobalOp::create(
          builder, loc, type, /*isConstant=*/true, LLVM::Linkage::Internal,
          "ee_message_" + std::to_string(messages.size()),
          builder.getStringAttr(bytes));
    }
    return LLVM::AddressOfOp::create(builder, loc, ptr, global.getSymName());
  }

  void lower(cf::AssertOp op) {
    Value why = message(op.getMsg());
    branchUnless(op, op.getArg(), why);
    op.erase();
  }

  void lower(memref::AllocOp op) {
    MemRefType type = op.getType();
    int64_t fixed = elementBytes(type);
    // Static dimensions are multiplied here; dynamic ones by the runtime, which
    // checks the product.
    SmallVector<Value> sizes;
    for (int64_t extent : type.getShape())
      // A product that overflows is refused at run time, as any other that is
      // too large.
      if (!ShapedType::isDynamic(extent) &&
          llvm::MulOverflow(fixed, extent, fixed))
        fixed = INT64_MAX;
    for (Value size : op.getDynamicSizes())
      sizes.push_back(arith::IndexCastOp::create(builder, loc, i64, size));
    Value dims = storeDims(sizes);
    Value why = message("not enough memory for a value of the model");
    Value pointer =
        LLVM::CallOp::create(
            builder, loc, allocate,
            ValueRange{args, dims, constant(sizes.size()), constant(fixed)})
            .getResult();
    Value null = LLVM::ZeroOp::create(builder, loc, ptr);
    Value ok = LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::ne,
                                    pointer, null);
    branchUnless(op, ok, why);
    Value memref = describe(type, pointer, sizes);
    op.replaceAllUsesWith(memref);
    op.erase();
  }

  static int64_t elementBytes(MemRefType type) {
    Type element = type.getElementType();
    return element.isIndex() ? 8 : (element.getIntOrFloatBitWidth() + 7) / 8;
  }

  /// The dynamic sizes in a stack slot of the entry block.
  Value storeDims(ArrayRef<Value> sizes) {
    if (sizes.empty())
      return LLVM::ZeroOp::create(builder, loc, ptr);
    Value &slot = slots[sizes.size()];
    if (!slot) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(&main.getBody().front());
      slot = LLVM::AllocaOp::create(builder, loc, ptr,
                                    LLVM::LLVMArrayType::get(i64, sizes.size()),
                                    constant(1));
    }
    for (auto [i, size] : llvm::enumerate(sizes))
      LLVM::StoreOp::create(builder, loc, size, field(slot, i * 8));
    return slot;
  }

  /// A memref of contiguous memory.
  Value describe(MemRefType type, Value pointer, ArrayRef<Value> dynamic) {
    auto structure = types.convertType(type);
    auto descriptor = MemRefDescriptor::poison(builder, loc, structure);
    descriptor.setAllocatedPtr(builder, loc, pointer);
    descriptor.setAlignedPtr(builder, loc, pointer);
    descriptor.setConstantOffset(builder, loc, 0);
    Value stride = constant(1);
    size_t left = dynamic.size();
    for (int64_t i = type.getRank() - 1; i >= 0; --i) {
      Value size =
          type.isDynamicDim(i) ? dynamic[--left] : constant(type.getDimSize(i));
      descriptor.setSize(builder, loc, i, size);
      descriptor.setStride(builder, loc, i, stride);
      if (i > 0)
        stride = LLVM::MulOp::create(builder, loc, stride, size);
    }
    return UnrealizedConversionCastOp::create(builder, loc, type,
                                              ValueRange{Value(descriptor)})
        .getResult(0);
  }

  void lower(memref::DeallocOp op) {
    Value index = memref::ExtractAlignedPointerAsIndexOp::create(
        builder, loc, op.getMemref());
    Value number = arith::IndexCastOp::create(builder, loc, i64, index);
    Value pointer = LLVM::IntToPtrOp::create(builder, loc, ptr, number);
    LLVM::CallOp::create(builder, loc, release, ValueRange{args, pointer});
    op.erase();
  }

  func::FuncOp main;
  ModuleOp module;
  OpBuilder builder;
  Location loc;
  Type ptr, i64;
  LLVMTypeConverter types;
  Value args;
  Block *failed_ = nullptr;
  LLVM::LLVMFuncOp allocate, release;
  llvm::StringMap<LLVM::GlobalOp> messages;
  llvm::DenseMap<size_t, Value> slots;
};

struct LowerRuntimeCalls
    : adaptive::impl::LowerRuntimeCallsBase<LowerRuntimeCalls> {
  void runOnOperation() override {
    func::FuncOp main = *getOperation().getOps<func::FuncOp>().begin();
    if (failed(Lowering(main).run()))
      signalPassFailure();
  }
};
} // namespace

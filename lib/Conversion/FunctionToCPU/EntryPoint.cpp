// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ee_function_main(args): unpacks the tensors of the function ABI, calls @main,
// and packs its results.

#include "EntryPoint.h"

#include "AdaptiveDialect/Conversion/CPU/MachineCode.h"

#include "ee/function_abi.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <cstddef>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

namespace {
class EntryBuilder {
public:
  explicit EntryBuilder(ModuleOp module)
      : module(module), builder(module.getBodyRegion()), loc(module.getLoc()),
        ptr(LLVM::LLVMPointerType::get(module.getContext())),
        i64(builder.getI64Type()) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  void emit(ArrayRef<MemRefType> operands, size_t inputs,
            ArrayRef<MemRefType> results) {
    auto main = module.lookupSymbol<LLVM::LLVMFuncOp>("main");
    markArguments(main, operands);
    auto nothing = LLVM::LLVMVoidType::get(builder.getContext());
    auto entry = LLVM::LLVMFuncOp::create(
        builder, loc, entrySymbol, LLVM::LLVMFunctionType::get(nothing, {ptr}));
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(entry.addEntryBlock(builder));
    Value args = entry.getArgument(0);
    Value tensors = load(ptr, args, offsetof(ee_function_args, inputs));
    Value weights = load(ptr, args, offsetof(ee_function_args, weights));
    SmallVector<Value> values{args};
    for (auto [i, type] : llvm::enumerate(operands)) {
      if (i >= inputs) {
        unpack(type, load(ptr, weights, (i - inputs) * sizeof(void *)), {},
               values);
        continue;
      }
      int64_t at = i * sizeof(ee_tensor);
      unpack(type, load(ptr, tensors, at + offsetof(ee_tensor, data)),
             load(ptr, tensors, at + offsetof(ee_tensor, dims)), values);
    }
    auto call = LLVM::CallOp::create(builder, loc, main, values);

    // Results are there only where nothing went wrong.
    Block *done = builder.createBlock(&entry.getBody());
    Block *store = builder.createBlock(&entry.getBody());
    builder.setInsertionPointAfter(call);
    Value error = load(ptr, args, offsetof(ee_function_args, error));
    Value none = LLVM::ZeroOp::create(builder, loc, ptr);
    Value ok = LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::eq,
                                    error, none);
    LLVM::CondBrOp::create(builder, loc, ok, store, done);
    builder.setInsertionPointToEnd(store);
    Value outputs = load(ptr, args, offsetof(ee_function_args, outputs));
    for (auto [i, type] : llvm::enumerate(results)) {
      Value descriptor = call.getResult();
      if (results.size() > 1)
        descriptor = extract(descriptor, {int64_t(i)});
      pack(type, descriptor, outputs, i * sizeof(ee_tensor));
    }
    LLVM::BrOp::create(builder, loc, done);
    builder.setInsertionPointToEnd(done);
    LLVM::ReturnOp::create(builder, loc, ValueRange{});
  }

private:
  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(builder, loc, i64,
                                    builder.getI64IntegerAttr(value));
  }
  Value at(Value base, int64_t offset) {
    return LLVM::GEPOp::create(
        builder, loc, ptr, builder.getI8Type(), base,
        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(offset)});
  }
  Value load(Type type, Value base, int64_t offset) {
    return LLVM::LoadOp::create(builder, loc, type, at(base, offset));
  }
  Value extract(Value from, ArrayRef<int64_t> position) {
    return LLVM::ExtractValueOp::create(builder, loc, from, position);
  }

  /// Inputs and weights are only read, so no pointer to them can disturb
  /// another: the vectoriser needs no checks. Each is passed as allocated
  /// pointer, aligned pointer, offset, sizes, strides; code reads the second.
  void markArguments(LLVM::LLVMFuncOp main, ArrayRef<MemRefType> operands) {
    main.setPassthroughAttr(
        builder.getArrayAttr({builder.getStringAttr("noinline"),
                              builder.getStringAttr("nounwind")}));
    unsigned index = 1;
    for (MemRefType type : operands) {
      for (StringRef name : {LLVM::LLVMDialect::getNoAliasAttrName(),
                             LLVM::LLVMDialect::getReadonlyAttrName()})
        main.setArgAttr(index + 1, name, builder.getUnitAttr());
      index += 3 + 2 * type.getRank();
    }
  }

  void unpack(MemRefType type, Value data, Value dims,
              SmallVectorImpl<Value> &values) {
    values.append({data, data, constant(0)});
    SmallVector<Value> sizes, strides(type.getRank());
    for (int64_t i = 0; i < type.getRank(); ++i)
      sizes.push_back(type.isDynamicDim(i) ? load(i64, dims, i * 8)
                                           : constant(type.getDimSize(i)));
    Value stride = constant(1);
    for (int64_t i = type.getRank() - 1; i >= 0; --i) {
      strides[i] = stride;
      if (i > 0)
        stride = LLVM::MulOp::create(builder, loc, stride, sizes[i]);
    }
    values.append(sizes);
    values.append(strides);
  }

  void pack(MemRefType type, Value descriptor, Value outputs, int64_t offset) {
    LLVM::StoreOp::create(builder, loc, extract(descriptor, {1}),
                          at(outputs, offset + offsetof(ee_tensor, data)));
    Value dims = load(ptr, outputs, offset + offsetof(ee_tensor, dims));
    for (int64_t i = 0; i < type.getRank(); ++i)
      LLVM::StoreOp::create(builder, loc, extract(descriptor, {3, i}),
                            at(dims, i * 8));
  }

  ModuleOp module;
  OpBuilder builder;
  Location loc;
  Type ptr, i64;
};
} // namespace

void cpu::emitEntryPoint(ModuleOp module, ArrayRef<MemRefType> operands,
                         size_t inputs, ArrayRef<MemRefType> results,
                         Level level) {
  EntryBuilder builder(module);
  builder.emit(operands, inputs, results);
  emitLoaderConstants(module, "ee_function_abi", EE_FUNCTION_ABI,
                      functionProfileName(level));
}

std::string cpu::functionProfileName(Level level) {
  // Raise the number whenever the arithmetic changes.
  return "function-" + levelName(level).str() + "-1";
}

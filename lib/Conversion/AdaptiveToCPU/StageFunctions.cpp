// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The functions of the stage ABI: they set the depth column and call the thread
// team, kernel by kernel, layer by layer.

#include "StageEmitter.h"

#include "AdaptiveDialect/Conversion/CPU/MachineCode.h"

#include "ee/abi.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <cstddef>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

namespace {
class FunctionBuilder {
public:
  FunctionBuilder(ModuleOp module)
      : module(module), builder(module.getBodyRegion()), loc(module.getLoc()),
        ptr(LLVM::LLVMPointerType::get(module.getContext())),
        i64(builder.getI64Type()) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  void emit(const StageCode &stage) {
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(builder.getContext()), {ptr});
    auto function = LLVM::LLVMFuncOp::create(builder, loc, stage.symbol, type);
    OpBuilder::InsertionGuard guard(builder);
    Block *entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    args = entry->getArgument(0);
    Value count = loadField(args, offsetof(ee_stage_args, n_active), ptr);
    Value active =
        LLVM::LoadOp::create(builder, loc, builder.getI32Type(), count);
    rows = LLVM::SExtOp::create(builder, loc, i64, active);
    team = loadField(args, offsetof(ee_stage_args, team), ptr);
    run = loadField(team, offsetof(ee_team, run), ptr);
    context = LLVM::AllocaOp::create(
        builder, loc, ptr,
        LLVM::LLVMArrayType::get(i64, sizeof(LayerContext) / 8), constant(1));
    storeContext(constant(0), constant(0));
    setDepth(stage.depth);
    for (const Step &step : stage.steps) {
      if (step.layers == 0) {
        for (const Launch &launch : step.launches)
          call(launch);
        continue;
      }
      loop(step.layers, [&](Value layer) {
        Value kvLayer = add(layer, constant(step.firstInLevel));
        Value weight = add(LLVM::MulOp::create(builder, loc, layer,
                                               constant(step.weightStride)),
                           constant(step.firstWeight));
        storeContext(kvLayer, weight);
        for (const Launch &launch : step.launches)
          call(launch);
      });
    }
    LLVM::ReturnOp::create(builder, loc, ValueRange());
  }

private:
  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(builder, loc, i64,
                                    builder.getI64IntegerAttr(value));
  }
  Value add(Value a, Value b) {
    return LLVM::AddOp::create(builder, loc, a, b);
  }
  Value at(Value base, Value bytes) {
    return LLVM::GEPOp::create(builder, loc, ptr, builder.getI8Type(), base,
                               ArrayRef<LLVM::GEPArg>{bytes});
  }
  Value loadField(Value base, int64_t offset, Type type) {
    return LLVM::LoadOp::create(builder, loc, type, at(base, constant(offset)));
  }

  void storeContext(Value kvLayer, Value firstWeight) {
    LLVM::StoreOp::create(
        builder, loc, kvLayer,
        at(context, constant(offsetof(LayerContext, kvLayer))));
    LLVM::StoreOp::create(
        builder, loc, firstWeight,
        at(context, constant(offsetof(LayerContext, firstWeight))));
  }

  void call(const Launch &launch) {
    Value kernel =
        LLVM::AddressOfOp::create(builder, loc, ptr, launch.function);
    Value items = add(
        LLVM::MulOp::create(builder, loc, rows, constant(launch.itemsPerRow)),
        constant(launch.itemsFixed));
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(builder.getContext()),
        {ptr, ptr, ptr, ptr, i64, i64});
    LLVM::CallOp::create(builder, loc, type,
                         ValueRange{run, team, kernel, args, context, items,
                                    constant(launch.grain)});
  }

  /// depth[rows[i]] = depth for each active row.
  void setDepth(int64_t depth) {
    Value slots = loadField(args, offsetof(ee_stage_args, rows), ptr);
    Value column = loadField(
        args, offsetof(ee_stage_args, columns) + offsetof(ee_rows, depth), ptr);
    Value value = LLVM::ConstantOp::create(builder, loc, builder.getI32Type(),
                                           builder.getI32IntegerAttr(depth));
    loop(rows, [&](Value row) {
      Value four = constant(4);
      Value slot = LLVM::LoadOp::create(
          builder, loc, builder.getI32Type(),
          at(slots, LLVM::MulOp::create(builder, loc, row, four)));
      Value wide = LLVM::SExtOp::create(builder, loc, i64, slot);
      LLVM::StoreOp::create(
          builder, loc, value,
          at(column, LLVM::MulOp::create(builder, loc, wide, four)));
    });
  }

  void loop(int64_t count, function_ref<void(Value)> body) {
    loop(constant(count), body);
  }

  void loop(Value count, function_ref<void(Value)> body) {
    Block *before = builder.getInsertionBlock();
    Region *region = before->getParent();
    Block *head = builder.createBlock(region, region->end(), {i64}, {loc});
    Block *inside = builder.createBlock(region, region->end());
    Block *after = builder.createBlock(region, region->end());
    builder.setInsertionPointToEnd(before);
    LLVM::BrOp::create(builder, loc, ValueRange{constant(0)}, head);
    builder.setInsertionPointToEnd(head);
    Value index = head->getArgument(0);
    Value more = LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::slt,
                                      index, count);
    LLVM::CondBrOp::create(builder, loc, more, inside, after);
    builder.setInsertionPointToEnd(inside);
    body(index);
    LLVM::BrOp::create(builder, loc, ValueRange{add(index, constant(1))}, head);
    builder.setInsertionPointToEnd(after);
  }

  ModuleOp module;
  OpBuilder builder;
  Location loc;
  Type ptr, i64;
  Value args, rows, team, run, context;
};
} // namespace

void cpu::emitStageFunctions(ArrayRef<StageCode> stages, Level level,
                             ModuleOp kernels) {
  FunctionBuilder builder(kernels);
  for (const StageCode &stage : stages)
    builder.emit(stage);
  emitLoaderConstants(kernels, "ee_stage_abi", EE_STAGE_ABI,
                      profileName(level));
}

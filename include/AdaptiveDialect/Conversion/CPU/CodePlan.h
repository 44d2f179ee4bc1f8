// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the CPU backend decides before it makes code, the same for every level:
// columns of the row store, the weight table, buffers of every stage. The
// artifact's manifest is written from it.

#ifndef ADAPTIVEDIALECT_CONVERSION_CPU_CODEPLAN_H
#define ADAPTIVEDIALECT_CONVERSION_CPU_CODEPLAN_H

#include "AdaptiveDialect/Conversion/CPU/Target.h"
#include "AdaptiveDialect/IR/Adaptive.h"
#include "llvm/ADT/DenseMap.h"

#include <memory>
#include <string>
#include <vector>

namespace adaptive::cpu {

/// A column of the row store.
struct Column {
  std::string name;
  mlir::Type element; ///< f32 or i1 (stored as i32)
  int64_t width;      ///< elements per row
  int64_t offset;     ///< bytes from the start of the slot
};

/// One entry of the weight table (several entries may name one weight).
struct WeightEntry {
  std::string symbol;
  Packing packing;
};

/// Buffers of a straight line of ops: a stage or a block as one stage runs it.
struct LinePlan {
  llvm::DenseMap<mlir::Value, RowBuffer> buffers;
  llvm::DenseMap<mlir::Operation *, RowBuffer> scratch;
  int64_t arenaPerRow = 0;
  int64_t workerScratch = 0;
};

/// A `layers` op as a stage runs it.
struct LayersPlan {
  BlockOp block;
  LinePlan line;
  int64_t firstWeight = 0;  ///< weight table index of layer 0
  int64_t weightStride = 0; ///< entries per layer
  KVRef kv;                 ///< level of its layers
  int64_t firstInLevel = 0; ///< index of its first layer within the level
};

struct StagePlan {
  StageOp op;
  LinePlan line;
  llvm::DenseMap<mlir::Operation *, std::unique_ptr<LayersPlan>> layers;
  std::optional<RowBuffer> logits; ///< operand of the stage's sample op
  int64_t logitsWidth = 0;
};

struct CodePlan {
  std::vector<Column> columns;
  int64_t rowBytes = 0;
  std::vector<WeightEntry> weights;
  llvm::StringMap<int64_t> weightIndex; ///< symbol -> first entry
  std::vector<std::unique_ptr<StagePlan>> stages;

  const Column *findColumn(llvm::StringRef name) const;
};

/// Plans the stages of `module`. Inserts explicit copies where a value must
/// move to its column, and bodies for layers that only append KV; the module is
/// not to be changed afterwards.
mlir::FailureOr<std::unique_ptr<CodePlan>> planCode(mlir::ModuleOp module);

/// What emitCode stops at.
enum class CodeStage { Kernel, LLVM, Assembly, SharedObject };

/// Makes code for one level: text of the kernels before conversion (Kernel),
/// LLVM IR, assembly, or the bytes of an ELF shared object.
mlir::FailureOr<std::string> emitCode(mlir::ModuleOp module,
                                      const CodePlan &plan, Level level,
                                      CodeStage stop);

} // namespace adaptive::cpu

#endif // ADAPTIVEDIALECT_CONVERSION_CPU_CODEPLAN_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Buffers for a straight line of ops: which value lives where, who may write in
// place, which bytes of the arena are free when.

#ifndef ADAPTIVE_LIB_CONVERSION_CPU_LINEPLANNER_H
#define ADAPTIVE_LIB_CONVERSION_CPU_LINEPLANNER_H

#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"

#include <functional>

namespace adaptive::cpu {

/// Marks a select that restores frozen rows behind each layer of a `layers` op.
inline constexpr llvm::StringLiteral kPerLayer = "adaptive.per_layer";

/// Bytes of one row of a value: f32 elements, or one i32 for ids and decisions.
int64_t rowBytesOf(mlir::Type type);

class LinePlanner {
public:
  /// `base`: arena bytes per row already taken by the surroundings.
  LinePlanner(mlir::Block &block, LinePlan &plan, int64_t base)
      : block(block), plan(plan), base(base) {}

  /// Fixes where a block argument lives.
  void bindArgument(mlir::Value argument, RowBuffer buffer) {
    plan.buffers[argument] = buffer;
  }
  /// Asks for a value of the terminator to end up in `buffer`.
  void bindResult(unsigned index, RowBuffer buffer) {
    targets.push_back({index, buffer});
  }
  /// Arena bytes per row that an op needs while it runs, besides its scratch.
  void setNested(std::function<int64_t(mlir::Operation *)> bytes) {
    nested = std::move(bytes);
  }
  /// Where the nested bytes of an op start (after plan()).
  int64_t nestedBase(mlir::Operation *op) const { return nestedAt.lookup(op); }

  /// Assigns all buffers; inserts a copy (`map` of one operand) before the
  /// terminator for each result that could not be computed in place.
  void run(std::function<KernelNeeds(mlir::Operation *)> needs);

private:
  int64_t positionOf(mlir::Operation *op) const { return order.lookup(op); }
  int64_t lastUse(mlir::Value value) const;
  bool canTake(const RowBuffer &buffer, mlir::Operation *op) const;
  int64_t allocate(int64_t bytes, int64_t from, int64_t until);
  void extend(int64_t offset, int64_t from, int64_t until);
  void insertCopies();
  void number();

  struct Interval {
    int64_t offset, bytes, from, until;
  };
  mlir::Block &block;
  LinePlan &plan;
  int64_t base;
  std::vector<std::pair<unsigned, RowBuffer>> targets;
  std::vector<Interval> intervals;
  llvm::DenseMap<mlir::Operation *, int64_t> order;
  llvm::DenseMap<mlir::Operation *, int64_t> nestedAt;
  std::function<int64_t(mlir::Operation *)> nested;
};

/// True when the two buffers are the same memory.
bool sameBuffer(const RowBuffer &a, const RowBuffer &b);

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_CPU_LINEPLANNER_H

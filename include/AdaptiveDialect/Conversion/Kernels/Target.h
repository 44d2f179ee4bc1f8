// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the kernel language leaves to the machine: how a wide value of 16 lanes
// is held, and the few operations that look across lanes or touch memory. All
// else of a kernel is written once. A target may also emit an op's kernels
// itself; it then runs the same conformance table.

#ifndef ADAPTIVEDIALECT_CONVERSION_KERNELS_TARGET_H
#define ADAPTIVEDIALECT_CONVERSION_KERNELS_TARGET_H

#include "AdaptiveDialect/Conversion/Kernels/Builder.h"

#include <optional>

namespace adaptive::kernels {

/// Raise it whenever a kernel's arithmetic changes: profile names end in it.
inline constexpr int arithmeticVersion = 3;

/// What every emitter needs.
struct Emitter {
  llvm::StringRef name;
  const Target &target;
  const KernelContext &context;
  mlir::ModuleOp module;
  llvm::SmallVectorImpl<Launch> &launches;

  Kernel kernel(mlir::Location loc, llvm::StringRef suffix = "") const;
  /// Ends the kernel and appends its launch.
  void launch(Kernel &k, int64_t perRow, int64_t fixed, int64_t grain) const;
  /// Emits `body` for every row of [begin, end) and launches it by rows, in
  /// grains of about 32 KiB of `bytesPerRow`.
  void rows(mlir::Location loc, int64_t bytesPerRow,
            llvm::function_ref<void(Kernel &, Value)> body) const;
};

class Target {
public:
  virtual ~Target() = default;
  virtual llvm::StringRef name() const = 0;

  /// Type of addresses.
  virtual Type pointer(mlir::MLIRContext *context) const = 0;

  /// Makes the function `name` in `module` and sets the values of `k` that come
  /// from outside of it: args, worker, begin, end, kvLayer, firstWeight.
  virtual void begin(Kernel &k, mlir::ModuleOp module,
                     llvm::StringRef name) const = 0;
  /// See Kernel::offset; dominates all of the kernel.
  virtual Value offset(Kernel &k, int64_t value) const { return k.c64(value); }

  /// Type of a wide value with `perLane` elements in each lane.
  virtual mlir::VectorType wide(Type element, int64_t perLane) const = 0;
  /// Mask of the lanes below `count`.
  virtual Value constMask(Kernel &k, int64_t count) const = 0;
  /// <0, 1, ..., 15> of i32.
  virtual Value laneIds(Kernel &k) const = 0;
  virtual Value splat(Kernel &k, Value scalar) const = 0;
  virtual Value extract(Kernel &k, Value vector, int64_t lane) const = 0;
  /// Lane i with lane i + 8, then 4, 2, 1: the order is part of the profile.
  virtual Value
  reduce(Kernel &k, Value vector,
         llvm::function_ref<Value(Value, Value)> combine) const = 0;
  /// Set lanes of a mask, as i32.
  virtual Value popcount(Kernel &k, Value mask) const = 0;

  /// A scalar.
  virtual Value load(Kernel &k, Type type, Value address) const;
  /// Lanes side by side in memory. A null mask is a plain access; lanes outside
  /// a mask read as zero.
  virtual Value load(Kernel &k, mlir::VectorType type, Value address,
                     Value mask) const = 0;
  /// A scalar (without a mask) or a wide value. What is stored can be read back
  /// by every lane.
  virtual void store(Kernel &k, Value v, Value address, Value mask) const = 0;
  /// Asks for the cache line at an address, which need not be mapped.
  virtual void prefetch(Kernel &, Value) const {}

  /// sum + the exact dot of four u8 codes of a weight and four s8 codes of a
  /// row in each 32-bit lane; weights and x are of type k.vi8. `small`: weights
  /// are at most 15.
  virtual Value dotBytes(Kernel &k, Value sum, Value weights, Value x,
                         bool small) const = 0;
  /// sum + x[0] w[0] + x[1] w[1] of the bf16 pairs in each 32-bit lane of
  /// weights and x: two fused steps. A target with another rounding has another
  /// profile for bf16.
  virtual Value dotBF16(Kernel &k, Value sum, Value weights, Value x) const;

  /// Wide accumulators that fit into registers beside what else a loop needs.
  virtual int64_t accumulators() const = 0;
  /// Wide values side by side in a tile of `rows` rows of a linear layer; a
  /// divisor of 4. Only registers depend on it: an output's arithmetic is the
  /// same in any tile.
  virtual int64_t tileWidth(Format format, int64_t rows) const = 0;

  /// Emits the kernels of an op in place of the shared emitter, or leaves the
  /// op to it.
  virtual std::optional<mlir::LogicalResult> emit(mlir::Operation *,
                                                  const Emitter &) const {
    return std::nullopt;
  }
};

} // namespace adaptive::kernels

#endif // ADAPTIVEDIALECT_CONVERSION_KERNELS_TARGET_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The seam inside a backend: stage assembly (which buffers, in which order) on
// one side, kernel builders (what one op does) on the other. Emitters are
// shared by all machines; a Target says how 16 lanes are held.
//
// A kernel works on a range of items: rows, panels of outputs, heads of rows.
// It never looks at how many rows share the launch to choose an order of
// summation: one numerics profile per (op, format), except that a target may
// have its own for bf16.

#ifndef ADAPTIVEDIALECT_CONVERSION_KERNELS_KERNELS_H
#define ADAPTIVEDIALECT_CONVERSION_KERNELS_KERNELS_H

#include "AdaptiveDialect/Conversion/Kernels/Packing.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <string>

namespace adaptive::kernels {

class Target;

/// What differs from layer to layer in a launch. On the CPU the context pointer
/// of a kernel points to it.
struct LayerContext {
  int64_t kvLayer;     ///< index of the layer within its KV level
  int64_t firstWeight; ///< added to the index of weights that differ by layer
};

/// Where the rows of a value live.
struct RowBuffer {
  enum Kind {
    Arena,    ///< row i of the launch: arena + perRow * max_rows + i * stride
    RowStore, ///< row slot s: row_store + s * stride + offset
    Token,    ///< the token column
    Decision, ///< the decision column (i32, 0 or 1)
    Criteria  ///< the criteria column, entry `offset` (an exit index)
  } kind = Arena;
  int64_t perRow = 0; ///< Arena: bytes per row of all buffers before this one
  int64_t offset =
      0; ///< RowStore: byte offset in the slot; Criteria: exit index
  int64_t stride =
      0; ///< bytes from row to row (Arena) or slot to slot (RowStore)
};

/// Where a weight lives: args->weights[index + (perLayer ? firstWeight : 0)].
struct WeightRef {
  int64_t index = 0;
  bool perLayer = false;
  Packing packing;
};

/// KV pages of the level a kernel appends to or reads. Inside a page, layer l
/// of the level has its keys at l * layerBytes, [heads][headDim][page] f32 (all
/// positions of one element side by side), then its values,
/// [heads][page][headDim] f32.
struct KVRef {
  int64_t level = 0; ///< index into ee_stage_args::kv
  int64_t heads = 0, headDim = 0, page = 0, layers = 0;
  int64_t layerBytes() const { return 2 * heads * headDim * page * 4; }
  int64_t pageBytes() const { return layers * layerBytes(); }
};

/// One call of the thread team: `function` over perRow * n_active + fixed
/// items.
struct Launch {
  std::string function;
  int64_t itemsPerRow = 0;
  int64_t itemsFixed = 0;
  int64_t grain = 1;
  /// What a kernel takes as parameters instead of having it in its code.
  llvm::SmallVector<int64_t> offsets = {};
};

/// What an op needs besides its operands and results.
struct KernelNeeds {
  int64_t scratchPerRow = 0; ///< arena bytes per row, 64-byte aligned
  int64_t workerScratch = 0; ///< bytes per item at work: a CPU's team member, a
                             ///< GPU's group of threads
};

/// Everything a builder may ask about the op it lowers.
class KernelContext {
public:
  virtual ~KernelContext() = default;
  virtual RowBuffer buffer(mlir::Value rows) const = 0;
  virtual WeightRef weight(mlir::Value weight) const = 0;
  /// Scratch asked for by kernelNeeds, an Arena buffer.
  virtual RowBuffer scratch(mlir::Operation *op) const = 0;
  virtual KVRef kv(mlir::Operation *op) const = 0;
};

/// Scratch an op will ask for; the same for every target.
KernelNeeds kernelNeeds(mlir::Operation *op, const KernelContext &context);

/// Emits the kernels of one op (embed, norm, linear, map, rope, kv_append,
/// attend, criteria, probe, cosine, decide, select, sample, copy, or,
/// mark_depth) into `module` as functions named after `name`, and appends their
/// launches in order. Fails with a diagnostic at the op when the backend has no
/// kernel for it.
mlir::LogicalResult emitKernels(mlir::Operation *op, llvm::StringRef name,
                                const Target &target,
                                const KernelContext &context,
                                mlir::ModuleOp module,
                                llvm::SmallVectorImpl<Launch> &launches);

/// A kernel that sets the depth column of the active rows.
void emitSetDepthKernel(mlir::Location loc, int64_t depth, llvm::StringRef name,
                        const Target &target, const KernelContext &context,
                        mlir::ModuleOp module,
                        llvm::SmallVectorImpl<Launch> &launches);

/// A kernel that copies rows of the type rows between buffers, on behalf of
/// op.
void emitCopyKernel(mlir::Operation *op, mlir::Type rows, const RowBuffer &from,
                    const RowBuffer &to, llvm::StringRef name,
                    const Target &target, const KernelContext &context,
                    mlir::ModuleOp module,
                    llvm::SmallVectorImpl<Launch> &launches);

} // namespace adaptive::kernels

#endif // ADAPTIVEDIALECT_CONVERSION_KERNELS_KERNELS_H

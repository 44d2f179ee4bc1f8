// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels for NVIDIA GPUs: the shared emitters, one lane of 16 in each thread,
// and PTX text of them that gives the CPU's bits.
//
// A kernel is
//   .entry NAME(u64 args, u64 kvLayer, u64 firstWeight, u64 itemsPerRow,
//               u64 itemsFixed, u64 offset_0, u64 offset_1, ...)
// `args` is the device address of an ee_stage_args in device memory; the others
// up to itemsFixed are those of LayerContext and Launch; the offsets are
// Launch::offsets, in order. The grid is one-dimensional and of any size, a
// block has a multiple of 32 threads. Each group of 16 threads takes one
// contiguous chunk of the itemsPerRow * *n_active + itemsFixed items and uses
// worker_scratch + group * worker_scratch_bytes, where groups are numbered
// through the grid.

#ifndef ADAPTIVEDIALECT_CONVERSION_NVPTX_PTX_H
#define ADAPTIVEDIALECT_CONVERSION_NVPTX_PTX_H

#include "AdaptiveDialect/Conversion/Kernels/Kernels.h"
#include "llvm/ADT/StringMap.h"

#include <optional>

namespace adaptive::nvptx {

/// What emitKernels needs to make such kernels.
const kernels::Target &laneTarget();

/// Name of the numerics profile. f32, q8 and q4 have the bits of every CPU
/// level, bf16 those of x86-64-v3. NaNs are NaNs on both, but need not have the
/// same payload.
std::string profileName();

/// Makes kernels of equal code one: all are renamed to NAME_HASH, NAME the
/// part of the first kernel's name behind its last dot (or all of it) and HASH
/// that of its text. Returns the new name of every old one.
llvm::StringMap<std::string> mergeEqualKernels(mlir::ModuleOp module);

/// The GPUs that emitPtx knows, by their names in PTX: "sm_80", ...
llvm::ArrayRef<llvm::StringRef> knownSMs();

/// PTX text of the kernels in `module`, which stays as it is: emitKernels has
/// filled it for laneTarget(). Fails with a diagnostic when `sm` is unknown or
/// the text breaks a rule of findInexact.
mlir::FailureOr<std::string> emitPtx(mlir::ModuleOp module, llvm::StringRef sm);

/// The first thing in PTX text that may make its results differ from the
/// CPU's or from run to run, as one line: arithmetic that ptxas may contract or
/// that is approximate or flushes subnormals, a call of a library function, an
/// atomic operation.
std::optional<std::string> findInexact(llvm::StringRef ptx);

} // namespace adaptive::nvptx

#endif // ADAPTIVEDIALECT_CONVERSION_NVPTX_PTX_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The instruction sets that code is made for, and kernels for them: a wide
// value is a vector of 16, which LLVM splits where registers are narrower.

#ifndef ADAPTIVEDIALECT_CONVERSION_CPU_TARGET_H
#define ADAPTIVEDIALECT_CONVERSION_CPU_TARGET_H

#include "AdaptiveDialect/Conversion/Kernels/Kernels.h"

namespace adaptive::cpu {
using namespace kernels;

/// V3 is x86-64-v3; AVX512 needs F, BW, DQ, VL, VNNI and BF16.
enum class Level { V3, AVX512 };
llvm::StringRef levelName(Level level); // "x86-64-v3", "avx512"

/// What emitKernels needs to make kernels for a level: functions of the form
/// ee_kernel_fn, whose context points to a LayerContext.
const Target &wideTarget(Level level);

/// Name of the numerics profile: changes whenever the bits a level computes do.
std::string profileName(Level level);

} // namespace adaptive::cpu

#endif // ADAPTIVEDIALECT_CONVERSION_CPU_TARGET_H

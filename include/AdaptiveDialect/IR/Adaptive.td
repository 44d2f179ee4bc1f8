// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Umbrella of the adaptive dialect.

#ifndef ADAPTIVE_TD
#define ADAPTIVE_TD

include "AdaptiveDialect/IR/AdaptiveStructureOps.td"
include "AdaptiveDialect/IR/AdaptiveExitOps.td"
include "AdaptiveDialect/IR/AdaptiveKVOps.td"
include "AdaptiveDialect/IR/AdaptiveKernelOps.td"
include "AdaptiveDialect/IR/AdaptivePlanOps.td"

#endif

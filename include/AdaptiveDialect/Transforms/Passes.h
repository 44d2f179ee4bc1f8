// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes within the adaptive dialect: declarations and registration.

#ifndef ADAPTIVEDIALECT_TRANSFORMS_PASSES_H
#define ADAPTIVEDIALECT_TRANSFORMS_PASSES_H

#include "AdaptiveDialect/IR/Adaptive.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace adaptive {
#define GEN_PASS_DECL
#include "AdaptiveDialect/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

#endif // ADAPTIVEDIALECT_TRANSFORMS_PASSES_H

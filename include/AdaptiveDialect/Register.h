// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// All dialects, passes and pipelines of the tools, in one place.

#ifndef ADAPTIVEDIALECT_REGISTER_H
#define ADAPTIVEDIALECT_REGISTER_H

#include "mlir/IR/DialectRegistry.h"

namespace adaptive {

/// Registers every dialect into `registry` and every pass and pipeline
/// globally.
void registerEverything(mlir::DialectRegistry &registry);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_REGISTER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the compiler library asks of the runtime and of the environment.

#ifndef EE_OPT_RUNTIME_HOOKS_H
#define EE_OPT_RUNTIME_HOOKS_H

#include "AdaptiveDialect/Driver/Compile.h"

/// Hooks that load artifacts with the runtime's own loader. The date is that of
/// SOURCE_DATE_EPOCH where the environment sets it, so that a compilation can
/// be repeated to the byte; fails where that is no date.
ee::Expected<adaptive::RuntimeHooks> runtimeHooks();

#endif // EE_OPT_RUNTIME_HOOKS_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The part of the manifest that only artifacts of kind function have.
#ifndef EE_CORE_FUNCTION_FIELDS_H
#define EE_CORE_FUNCTION_FIELDS_H

#include "ee/manifest.h"
#include "fields.h"

namespace ee {

/// Reads and checks the field `function`.
FunctionFacts readFunction(const Field &function);

} // namespace ee

#endif // EE_CORE_FUNCTION_FIELDS_H

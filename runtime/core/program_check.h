// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Checks of the depth program that need more than one node.
#ifndef EE_CORE_PROGRAM_CHECK_H
#define EE_CORE_PROGRAM_CHECK_H

#include "ee/manifest.h"
#include "fields.h"

namespace ee {

/// Returns the entry node, or throws FieldError: there is one embed node and at
/// least one emit node, only emit leads back to embed, no cycle within a token
/// runs without a stage, and leaving rows fill their KV exactly or by
/// propagation (the fills the scheduler knows).
int32_t checkProgram(const Field &field, const Manifest &manifest);

} // namespace ee

#endif // EE_CORE_PROGRAM_CHECK_H

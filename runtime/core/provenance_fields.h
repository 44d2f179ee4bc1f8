// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The part of the manifest that says where an artifact comes from.
#ifndef EE_CORE_PROVENANCE_FIELDS_H
#define EE_CORE_PROVENANCE_FIELDS_H

#include "ee/manifest.h"
#include "fields.h"

namespace ee {

/// Reads the field `provenance` of the manifest, every part of which may be
/// absent.
ProvenanceFacts readProvenance(const Field &root);

} // namespace ee

#endif // EE_CORE_PROVENANCE_FIELDS_H

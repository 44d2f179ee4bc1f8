// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The `gpu` part of a manifest.
#ifndef EE_CORE_GPU_FIELDS_H
#define EE_CORE_GPU_FIELDS_H

#include "ee/manifest.h"
#include "fields.h"

namespace ee {

/// Reads and checks the part against the files, weights and stages of `m`.
/// Throws FieldError.
GpuCode readGpu(const Field &gpu, const Manifest &m);

/// The index of the listed file that the field names.
size_t findFile(const Field &field, const Manifest &m);

} // namespace ee

#endif // EE_CORE_GPU_FIELDS_H

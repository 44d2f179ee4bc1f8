// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds the tensors of a safetensors file (heads of exit specs come in those).
// Format: https://huggingface.co/docs/safetensors#format

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_SAFETENSORS_H
#define ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_SAFETENSORS_H

#include "TensorIndex.h"

namespace adaptive {

/// Calls `callback` for each tensor; its entry has the tensor's bytes as raw
/// data. Fails on a malformed header and when `callback` does.
ee::Expected<void> scanSafetensors(std::string_view bytes,
                                   TensorCallback callback);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_SAFETENSORS_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The safetensors form of a weight file: what packed and plain weights share.

#ifndef ADAPTIVE_LIB_ARTIFACT_SAFETENSORS_H
#define ADAPTIVE_LIB_ARTIFACT_SAFETENSORS_H

#include "OutputFolder.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/JSON.h"

namespace adaptive {

/// Where a weight lies in the file.
struct PlacedWeight {
  uint64_t offset = 0, bytes = 0;
};

/// Entry of the header for a tensor `offset` bytes into the data.
llvm::json::Object tensorEntry(llvm::StringRef dtype, llvm::json::Array shape,
                               uint64_t offset, uint64_t bytes);

/// Starts a file with `header`; its data begins on a page. The offsets of
/// `places` count from the data before the call, from the file after it.
ee::Expected<OutputFile> openSafetensors(OutputFolder &folder,
                                         llvm::StringRef name,
                                         llvm::json::Object header,
                                         llvm::StringMap<PlacedWeight> &places);

/// Writes a tensor and zeros up to the next multiple of 64 bytes.
void writeTensor(OutputFile &file, llvm::StringRef bytes);

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_SAFETENSORS_H

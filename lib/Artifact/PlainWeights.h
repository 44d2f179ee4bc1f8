// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes the weights of a function into one safetensors file, as they are.

#ifndef ADAPTIVE_LIB_ARTIFACT_PLAINWEIGHTS_H
#define ADAPTIVE_LIB_ARTIFACT_PLAINWEIGHTS_H

#include "PackedWeights.h"

namespace adaptive {

/// Writes the weights and tables `symbols` in their stored dtype, row-major,
/// 64-byte aligned; `places` maps symbols to places.
ee::Expected<WrittenFile>
writePlainWeights(mlir::ModuleOp module, llvm::ArrayRef<std::string> symbols,
                  WeightStore &store, const ArtifactContents &contents,
                  OutputFolder &folder, llvm::StringRef name,
                  llvm::StringMap<PlacedWeight> &places);

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_PLAINWEIGHTS_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packs the weights of a module into one safetensors file.

#ifndef ADAPTIVE_LIB_ARTIFACT_PACKEDWEIGHTS_H
#define ADAPTIVE_LIB_ARTIFACT_PACKEDWEIGHTS_H

#include "AdaptiveDialect/Artifact/Writer.h"
#include "Safetensors.h"

namespace adaptive {

/// A rotary table, row by row.
std::vector<float> computeTable(TableOp op);

/// Writes every weight of the plan once; `places` maps symbols to places.
ee::Expected<WrittenFile>
writePackedWeights(mlir::ModuleOp module, const cpu::CodePlan &plan,
                   WeightStore &store, const ArtifactContents &contents,
                   OutputFolder &folder, llvm::StringRef name,
                   llvm::StringMap<PlacedWeight> &places);

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_PACKEDWEIGHTS_H

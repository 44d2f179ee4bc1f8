// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// manifest.json of an artifact.

#ifndef ADAPTIVE_LIB_ARTIFACT_MANIFEST_H
#define ADAPTIVE_LIB_ARTIFACT_MANIFEST_H

#include "PackedWeights.h"

namespace adaptive {

/// Text of the manifest; `files` are all other files of the artifact.
std::string manifestText(mlir::ModuleOp module, const cpu::CodePlan &plan,
                         const ArtifactContents &contents,
                         const llvm::StringMap<PlacedWeight> &places,
                         llvm::StringRef weightFile,
                         llvm::ArrayRef<WrittenFile> files);

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_MANIFEST_H

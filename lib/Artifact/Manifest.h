// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// manifest.json of an artifact.

#ifndef ADAPTIVE_LIB_ARTIFACT_MANIFEST_H
#define ADAPTIVE_LIB_ARTIFACT_MANIFEST_H

#include "PackedWeights.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace adaptive {

/// Path of the code of a level.
std::string codePath(cpu::Level level);

/// What manifests of every kind say: format, producer, code and `files`, which
/// are all other files of the artifact.
llvm::json::Object
manifestBase(llvm::StringRef kind, const ArtifactContents &contents,
             llvm::ArrayRef<WrittenFile> files,
             llvm::function_ref<std::string(cpu::Level)> profile);

/// The file's text.
std::string manifestText(llvm::json::Object manifest);

/// Text of the manifest of a decoder.
std::string manifestText(mlir::ModuleOp module, const cpu::CodePlan &plan,
                         const ArtifactContents &contents,
                         const llvm::StringMap<PlacedWeight> &places,
                         llvm::StringRef weightFile,
                         llvm::ArrayRef<WrittenFile> files);

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_MANIFEST_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes artifacts (docs/ArtifactFormat.md).

#ifndef ADAPTIVEDIALECT_ARTIFACT_WRITER_H
#define ADAPTIVEDIALECT_ARTIFACT_WRITER_H

#include "AdaptiveDialect/Artifact/Provenance.h"
#include "AdaptiveDialect/Conversion/CPU/CodePlan.h"
#include "AdaptiveDialect/Import/WeightStore.h"

#include <functional>
#include <string>
#include <vector>

namespace adaptive {

/// What the artifact holds besides what the module says.
struct ArtifactContents {
  std::string name;                 ///< model name
  std::string linearFormat = "f32"; ///< as given to adaptive-pack-weights
  std::string headFormat = "f32";
  std::vector<int64_t> eos; ///< end-of-text ids
  std::string tokenizer;    ///< text of tokenizer.json, or empty
  Provenance provenance;
  /// Shared objects, worst level first.
  std::vector<std::pair<cpu::Level, std::string>> code;
  /// Asked about the written folder before it takes its name; a failure leaves
  /// nothing behind.
  std::function<ee::Expected<void>(const std::string &folder)> check;
  /// Told what is being done and how far it is, for progress lines.
  std::function<void(llvm::StringRef what, int64_t done, int64_t all)> progress;
};

/// Fails where `writeArtifact` would refuse `path`: something else stands
/// there, or its folder is missing or not writable. Changes nothing.
ee::Expected<void> checkArtifactPath(llvm::StringRef path);

/// Writes the artifact folder `path` under a temporary name and renames it. An
/// artifact that stands there is replaced; anything else there is an error.
/// Errors are reported at `module`.
mlir::LogicalResult writeArtifact(mlir::ModuleOp module,
                                  const cpu::CodePlan &plan, WeightStore &store,
                                  const ArtifactContents &contents,
                                  llvm::StringRef path);

/// Writes an artifact of kind function; of `contents` eos and tokenizer do
/// not count. `module` is in function form. Otherwise as writeArtifact.
mlir::LogicalResult writeFunctionArtifact(mlir::ModuleOp module,
                                          WeightStore &store,
                                          const ArtifactContents &contents,
                                          llvm::StringRef path);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_ARTIFACT_WRITER_H

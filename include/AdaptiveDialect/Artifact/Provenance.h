// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where an artifact comes from, for people and scripts: nothing depends on it.

#ifndef ADAPTIVEDIALECT_ARTIFACT_PROVENANCE_H
#define ADAPTIVEDIALECT_ARTIFACT_PROVENANCE_H

#include "ee/result.h"

#include <string>
#include <vector>

namespace adaptive {

/// A file that was compiled.
struct SourceFile {
  std::string path; ///< as given
  std::string sha256;
};

/// Hashes the file.
ee::Expected<SourceFile> readSourceFile(const std::string &path);

/// Empty fields are not known.
struct Provenance {
  SourceFile source;                ///< the model's file, without external data
  SourceFile exits;                 ///< the exit spec of --exits
  std::string exitLowering;         ///< of decoders
  std::vector<std::string> command; ///< without the name of the output
  std::string date;                 ///< ISO 8601, UTC
};

} // namespace adaptive

#endif // ADAPTIVEDIALECT_ARTIFACT_PROVENANCE_H

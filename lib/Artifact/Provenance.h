// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// `provenance` of manifest.json.

#ifndef ADAPTIVE_LIB_ARTIFACT_PROVENANCE_H
#define ADAPTIVE_LIB_ARTIFACT_PROVENANCE_H

#include "AdaptiveDialect/Artifact/Provenance.h"

#include "llvm/Support/JSON.h"

namespace adaptive {

/// What is not known is left out.
llvm::json::Object provenanceObject(const Provenance &provenance);

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_PROVENANCE_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Exit specs: exits for files that one cannot export again, as TOML.

#ifndef ADAPTIVE_LIB_TRANSFORMS_EXITS_EXITSPEC_H
#define ADAPTIVE_LIB_TRANSFORMS_EXITS_EXITSPEC_H

#include "AdaptiveDialect/IR/Adaptive.h"
#include "ee/result.h"

#include <map>
#include <string>
#include <vector>

namespace adaptive {

/// One [[exit]] of a spec. Tensors are names in `weights`, a file beside the
/// spec.
struct ExitSpec {
  std::string name;
  int64_t layer = 0; ///< unrolled layers run before the exit
  Criterion criterion = Criterion::MaxProb;
  double threshold = 0; ///< logit space
  KVFill fill = KVFill::Exact;
  /// lm_head(final_norm(x)) with x = h (reuse), h map + bias (map) or
  /// (h down) up + bias (lowrank); matrices are stored [in, out].
  std::string head = "reuse";
  std::string headFile;
  std::map<std::string, std::string>
      headTensors; ///< map, down, up, bias -> name
  std::string probeFile, probeWeight, probeBias; ///< empty without a probe
};

/// Reads a spec, ordered by layer. Errors name the file, the exit and the key.
ee::Expected<std::vector<ExitSpec>> readExitSpec(const std::string &path);

} // namespace adaptive

#endif // ADAPTIVE_LIB_TRANSFORMS_EXITS_EXITSPEC_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Files beside an ONNX model: tokenizer, end-of-text ids, context length.

#ifndef ADAPTIVE_LIB_DRIVER_MODELFILES_H
#define ADAPTIVE_LIB_DRIVER_MODELFILES_H

#include "ee/result.h"

#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace adaptive {

/// Text of the tokenizer: `given` when not empty, nothing for "none", else
/// tokenizer.json in `folder` if there is one, else empty.
ee::Expected<std::string> readTokenizer(llvm::StringRef folder,
                                        llvm::StringRef given);

/// End-of-text ids: `eos_token_id` of generation_config.json, else of
/// config.json (a number or a list), else `eos_token` of tokenizer_config.json
/// looked up among the added tokens of `tokenizer`. Empty when none of them
/// says it.
ee::Expected<std::vector<int64_t>> readEndOfText(llvm::StringRef folder,
                                                 llvm::StringRef tokenizer);

/// `max_position_embeddings` of config.json in `folder`; nothing when the file
/// or the field is missing.
ee::Expected<std::optional<int64_t>> readMaxPosition(llvm::StringRef folder);

} // namespace adaptive

#endif // ADAPTIVE_LIB_DRIVER_MODELFILES_H

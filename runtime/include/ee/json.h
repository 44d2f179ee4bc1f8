// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Parses JSON of unknown origin within stated bounds, so that a hostile file
// costs an error and not the process.
#ifndef EE_JSON_H
#define EE_JSON_H

#include "ee/result.h"

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <string_view>

namespace ee {

struct JsonLimits {
  size_t maxBytes = size_t(64) << 20;
  /// Nesting of arrays and objects; a scalar at the top has depth 0.
  unsigned maxDepth = 64;
  /// Scalars, arrays and objects together. Bounds memory: `[[],[],...` would
  /// otherwise grow to some twenty times its text.
  size_t maxValues = size_t(8) << 20;
};

/// The parsed document. Fails on a broken limit, bad syntax, bad UTF-8, a
/// number out of range, or a key that appears twice in one object (readers
/// disagree on which one counts). `what` names the document in the error.
Expected<nlohmann::json> parseJson(std::string_view text, std::string_view what,
                                   const JsonLimits &limits = {});

} // namespace ee

#endif // EE_JSON_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The weight formats a user may ask for, and which one heads get.

#ifndef ADAPTIVEDIALECT_TRANSFORMS_WEIGHTFORMATS_H
#define ADAPTIVEDIALECT_TRANSFORMS_WEIGHTFORMATS_H

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"

namespace adaptive {

inline bool isWeightFormat(llvm::StringRef name) {
  return llvm::is_contained({"f32", "bf16", "q8", "q4"}, name);
}

/// Format of heads and embedding: `head` when it is given, else that of the
/// layers, and q8 under q4.
inline llvm::StringRef headFormat(llvm::StringRef layers,
                                  llvm::StringRef head) {
  if (!head.empty())
    return head;
  return layers == "q4" ? "q8" : layers;
}

} // namespace adaptive

#endif // ADAPTIVEDIALECT_TRANSFORMS_WEIGHTFORMATS_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The general path: an imported ONNX graph becomes a function over tensors
// ("function form"), whatever the graph computes. The pass is `onnx-to-linalg`
// (Conversion/Passes.td); this header says which operators it knows, so that an
// importer can replace the others by their bodies.

#ifndef ADAPTIVEDIALECT_CONVERSION_ONNXTOLINALG_H
#define ADAPTIVEDIALECT_CONVERSION_ONNXTOLINALG_H

#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace adaptive {

/// True for operators with a lowering of their own. Those of the default domain
/// without one are to be expanded into the body of their schema
/// (`ImportOptions::expandOperators`), if it has any.
bool hasLinalgLowering(llvm::StringRef domain, llvm::StringRef op);

/// One line of the page of supported operators.
struct LinalgOperator {
  std::string family; ///< "Elementwise", "Shape", ...
  std::string name;
  std::string note; ///< what is refused; empty: nothing
};

/// All operators of the default domain with a lowering, by family and name.
std::vector<LinalgOperator> linalgOperators();

} // namespace adaptive

#endif // ADAPTIVEDIALECT_CONVERSION_ONNXTOLINALG_H

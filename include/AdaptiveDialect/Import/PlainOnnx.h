// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX file -> ONNX file without functions: what `ee-opt --emit=plain-onnx`
// does. Files with `ai.adaptive` functions are valid ONNX, but not every tool
// knows functions; operators alone are read by all of them.

#ifndef ADAPTIVEDIALECT_IMPORT_PLAINONNX_H
#define ADAPTIVEDIALECT_IMPORT_PLAINONNX_H

#include "ee/result.h"

#include "llvm/ADT/StringRef.h"

namespace adaptive {

/// Replaces every call of a model-local function in the file `input` by the
/// body of the function and writes the result to `output`. Tensors that lie in
/// the file stay in it. External tensors move into the file when they have at
/// most 64 MiB together, else all of them into `<output>.data` beside it. Fails
/// where an operator is left that ONNX does not define. Errors are one line;
/// nothing is half written.
ee::Expected<void> writePlainOnnx(llvm::StringRef input,
                                  llvm::StringRef output);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_IMPORT_PLAINONNX_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX file to artifact: what `ee-opt X.onnx -o X.ee` does.

#ifndef ADAPTIVEDIALECT_DRIVER_COMPILE_H
#define ADAPTIVEDIALECT_DRIVER_COMPILE_H

#include "ee/result.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringRef.h"

#include <functional>
#include <string>
#include <vector>

namespace adaptive {

/// What only the runtime can say, which the library does not know: a tool that
/// links both fills it in. What is empty is not asked.
struct RuntimeHooks {
  /// Loads the artifact in `folder` as ee-run would.
  std::function<ee::Expected<void>(const std::string &folder)> loadArtifact;
  /// Reads the text of a tokenizer.json as ee-run would; gives the number of
  /// its tokens.
  std::function<ee::Expected<int64_t>(llvm::StringRef text)> readTokenizer;
  /// When it is, ISO 8601; goes into the manifest.
  std::string date;
};

struct CompileOptions {
  std::string input;  ///< X.onnx
  std::string output; ///< folder of the artifact, or text file; "-" is stdout
  std::string emit = "artifact"; ///< plain-onnx, carrier, model, planned,
                                 ///< kernel, llvm, asm, artifact
  std::string weights = "f32";   ///< f32, bf16, q8, q4
  std::string headWeights;       ///< the same; empty: default of adaptive-plan
  std::vector<std::string> cpuLevels = {"x86-64-v3", "avx512"};
  /// Positions a sequence may have where no stored rotary table says it; 0:
  /// config.json beside the input, up to a cap, else a default.
  int64_t maxPosition = 0;
  std::string exits; ///< exit spec (.toml), or empty
  std::string exitLowering = "grouped";
  std::string tokenizer; ///< tokenizer.json; empty: the one beside the input;
                         ///< "none": none
  std::vector<int64_t>
      eos; ///< end-of-text ids; empty: from files beside the input
  std::string kind = "auto"; ///< auto, decoder, function
  /// Flags given that mean nothing for a function, which refuses them.
  std::vector<std::string> decoderFlags;
  bool remarks = false;  ///< whether remarks are printed: errors count on it
  std::string saveTemps; ///< folder for intermediates, or empty
  std::vector<std::string> command; ///< for the manifest, or empty
  RuntimeHooks runtime;
  /// Told about phases and how far they are.
  std::function<void(llvm::StringRef what, int64_t done, int64_t all)> progress;
  /// Told what a user must know although all went well, on one line.
  std::function<void(llvm::StringRef text)> note;
};

/// Compiles. All errors are one-line diagnostics on `context`; nothing is
/// written unless all went well.
mlir::LogicalResult compileModel(const CompileOptions &options,
                                 mlir::MLIRContext &context);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_DRIVER_COMPILE_H

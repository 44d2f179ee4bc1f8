// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX file to artifact: import, raise, and then as a decoder or a function.

#include "Compiler.h"
#include "Diagnostics.h"
#include "ModelFiles.h"

#include "ee/output.h"

#include "AdaptiveDialect/Import/Import.h"
#include "AdaptiveDialect/Import/PlainOnnx.h"
#include "AdaptiveDialect/Pipelines.h"
#include "AdaptiveDialect/Transforms/WeightFormats.h"

#include "mlir/Parser/Parser.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace adaptive;

/// Rotary tables take positions * head_dim * 4 bytes of the artifact. A context
/// taken from a config file that only promises one stops here; --max-position
/// goes beyond.
static constexpr int64_t maxConfigPosition = 32768;
static constexpr int64_t maxPositionLimit = int64_t(1) << 20;

Compiler::Compiler(const CompileOptions &options, MLIRContext &context)
    : options(options), context(context), loc(UnknownLoc::get(&context)),
      folder(llvm::sys::path::parent_path(options.input).str()),
      store(folder.empty() ? "." : folder) {
  if (folder.empty())
    folder = ".";
}

LogicalResult Compiler::run() {
  // Before anything is read: a refusal should not take as long as a model.
  if (failed(checkOptions()) || failed(checkOutput()))
    return failure();
  if (options.emit == "plain-onnx")
    return writePlain();
  if (failed(readInput()))
    return failure();
  if (options.emit == "carrier")
    return writeModule();
  bool isModel = !module->getOps<ModelOp>().empty();
  if (isFunctionForm() || (isModel && options.kind == "function")) {
    if (options.kind == (isModel ? "function" : "decoder"))
      return error("--kind=" + options.kind + ": '" + options.input + "' is " +
                   (isModel ? "a decoder's model" : "in function form"));
    return compileFunction();
  }
  if (isModel)
    return failed(checkModel()) ? failure() : compileDecoder();
  save("carrier.mlir");
  if (options.kind == "function")
    return compileGraph();
  std::string why;
  if (succeeded(raise(why)))
    return compileDecoder();
  if (why.empty())
    return failure();
  return compileGraphInstead(why);
}

LogicalResult Compiler::readInput() {
  if (StringRef(options.input).ends_with(".mlir")) {
    // A model saved with --emit=model; its weights are read again from the
    // files it names.
    module = parseSourceFile<ModuleOp>(options.input, ParserConfig(&context));
  } else {
    phase("importing");
    module = importOnnx(options.input, &context, store);
  }
  return success(bool(module));
}

/// A failure has printed its errors, or says in `why` that the graph is no
/// decoder, which need not be an error.
LogicalResult Compiler::raise(std::string &why) {
  phase("raising");
  RaiseOptions raising;
  if (failed(chooseMaxPosition(raising)))
    return failure();
  std::string summary;
  std::vector<std::string> errors, warnings;
  bool raised = false;
  {
    // Warnings of a decoder mean nothing when it becomes a function.
    DiagnosticCapture capture(&context, /*holdsWarnings=*/true);
    raised = succeeded(runPasses([&](OpPassManager &pm) {
      addRaisePipeline(pm, raising);
      return success();
    }));
    summary = capture.summary("the graph cannot be raised");
    errors = capture.errors();
    warnings = capture.warnings();
  }
  if (raised) {
    for (const std::string &text : warnings)
      emitWarning(loc) << text;
    return success();
  }
  if (options.kind == "auto") {
    why = summary;
    return failure();
  }
  // The remarks stand above; without them the first reason is the error.
  if (!options.remarks || errors.empty())
    errors = {summary};
  for (const std::string &text : errors)
    (void)error(text);
  return failure();
}

/// A model from a file has not been through raising.
LogicalResult Compiler::checkModel() {
  return runPasses([](OpPassManager &pm) {
    addModelChecks(pm);
    return success();
  });
}

LogicalResult Compiler::checkOptions() {
  static constexpr StringRef kinds[] = {"plain-onnx", "carrier", "model",
                                        "planned",    "kernel",  "llvm",
                                        "asm",        "artifact"};
  if (!llvm::is_contained(kinds, options.emit))
    return error("--emit must be plain-onnx, carrier, model, planned, "
                 "kernel, llvm, asm or artifact, but got '" +
                 options.emit + "'");
  for (StringRef level : options.cpuLevels)
    if (level != "x86-64-v3" && level != "avx512")
      return error("--cpu-levels must list x86-64-v3 and avx512, but got '" +
                   level + "'");
  if (options.cpuLevels.empty())
    return error("--cpu-levels must name at least one of x86-64-v3, avx512");
  for (auto [flag, value] :
       {std::pair<StringRef, StringRef>{"--weights", options.weights},
        {"--head-weights", options.headWeights}}) {
    if (flag == "--head-weights" && value.empty())
      continue;
    if (!isWeightFormat(value))
      return error(flag + " must be f32, bf16, q8 or q4, but got '" + value +
                   "'");
  }
  if (options.kind != "auto" && options.kind != "decoder" &&
      options.kind != "function")
    return error("--kind must be auto, decoder or function, but got '" +
                 options.kind + "'");
  if (options.kind == "function" && !options.decoderFlags.empty())
    return error(options.decoderFlags.front() +
                 " is for decoders and means nothing with --kind=function");
  if (options.maxPosition < 0 || options.maxPosition > maxPositionLimit)
    return error(
        "--max-position must lie in [1, " + Twine(maxPositionLimit) + "]" +
        (options.maxPosition < 0 ? Twine()
                                 : ", but got " + Twine(options.maxPosition)));
  if (options.output.empty())
    return error("-o must name the artifact to write");
  return success();
}

LogicalResult Compiler::checkOutput() {
  if (options.emit == "artifact") {
    auto ok = checkArtifactPath(options.output);
    return ok ? success() : error(ok.error());
  }
  if (options.emit == "plain-onnx" && options.output == "-")
    return error("--emit=plain-onnx needs -o: the file to write, Y.onnx");
  if (options.output == "-")
    return success();
  auto ok = ee::Output::check(options.output);
  return ok ? success() : error(ok.error());
}

LogicalResult Compiler::writePlain() {
  if (!StringRef(options.input).ends_with(".onnx"))
    return error("--emit=plain-onnx needs an ONNX file, but got '" +
                 options.input + "'");
  phase("inlining functions");
  auto done = writePlainOnnx(options.input, options.output);
  return done ? success() : error(done.error());
}

LogicalResult Compiler::chooseMaxPosition(RaiseOptions &raising) {
  raising.maxPosition = options.maxPosition;
  if (options.maxPosition != 0)
    return success();
  auto config = readMaxPosition(folder);
  if (!config)
    return error(config.error());
  if (*config)
    raising.maxPosition = std::min(**config, maxConfigPosition);
  return success();
}

LogicalResult adaptive::compileModel(const CompileOptions &options,
                                     MLIRContext &context) {
  return Compiler(options, context).run();
}

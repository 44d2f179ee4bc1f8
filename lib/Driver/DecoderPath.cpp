// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model over rows to the artifact of a decoder: exits, plan, code.

#include "Compiler.h"
#include "ModelFiles.h"

#include "AdaptiveDialect/Pipelines.h"
#include "AdaptiveDialect/Transforms/Passes.h"
#include "AdaptiveDialect/Transforms/WeightFormats.h"

#include "llvm/Support/Path.h"

using namespace mlir;
using namespace adaptive;

LogicalResult Compiler::compileDecoder() {
  if (failed(insertExits()))
    return failure();
  if (options.emit == "model")
    return writeModule();
  save("model.mlir");
  phase("planning");
  if (failed(runPasses([&](OpPassManager &pm) { return plan(pm); })))
    return failure();
  if (options.emit == "planned")
    return writeModule();
  save("planned.mlir");
  return makeDecoderCode();
}

LogicalResult Compiler::insertExits() {
  if (options.exits.empty())
    return success();
  StringRef parent = llvm::sys::path::parent_path(options.exits);
  store.addRoot("exits", parent.empty() ? "." : parent.str());
  return runPasses([&](OpPassManager &pm) {
    InsertExitsOptions spec;
    spec.spec = options.exits;
    pm.addPass(createInsertExits(spec));
    return success();
  });
}

LogicalResult Compiler::plan(OpPassManager &pm) {
  PlanOptions planning;
  planning.exitLowering = options.exitLowering;
  planning.weights = options.weights;
  planning.headWeights = options.headWeights;
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  if (succeeded(addPlanPipeline(pm, planning, stream)))
    return success();
  return error("--exit-lowering '" + options.exitLowering +
               "' is unknown; accepted are masked, grouped, or a pass of a "
               "loaded plugin");
}

/// Tokenizer and end-of-text ids, from the options or beside the model.
LogicalResult Compiler::readFiles(const cpu::CodePlan &code,
                                  ArtifactContents &contents) {
  if (auto tokenizer = readTokenizer(folder, options.tokenizer))
    contents.tokenizer = *tokenizer;
  else
    return error(tokenizer.error());
  int64_t tokens = 0;
  if (!contents.tokenizer.empty() && options.runtime.readTokenizer) {
    auto read = options.runtime.readTokenizer(contents.tokenizer);
    if (!read)
      return error(read.error() + "; --tokenizer=none leaves it out, and "
                                  "ee-run then takes token ids");
    tokens = *read;
  }
  contents.eos = options.eos;
  if (contents.eos.empty()) {
    auto eos = readEndOfText(folder, contents.tokenizer);
    if (!eos)
      return error(eos.error());
    contents.eos = *eos;
  }
  for (const auto &stage : code.stages) {
    if (!stage->logits || tokens <= stage->logitsWidth)
      continue;
    // Some models have a token for padding beyond their embedding.
    if (options.note)
      options.note("the tokenizer has " + std::to_string(tokens) +
                   " tokens, the model " + std::to_string(stage->logitsWidth) +
                   ": ee-run refuses text with the others");
    break;
  }
  for (const auto &stage : code.stages)
    for (int64_t id : contents.eos)
      if (stage->logits && (id < 0 || id >= stage->logitsWidth))
        return error("end-of-text id must lie in [0, " +
                     Twine(stage->logitsWidth) + "), but got " + Twine(id));
  return success();
}

LogicalResult Compiler::makeDecoderCode() {
  auto code = cpu::planCode(*module);
  if (failed(code))
    return failure();
  ArtifactContents contents;
  contents.linearFormat = options.weights;
  contents.headFormat = headFormat(options.weights, options.headWeights).str();
  auto emit = [&](cpu::Level level, cpu::CodeStage stop) {
    return cpu::emitCode(*module, **code, level, stop);
  };
  if (options.emit != "artifact")
    return emitText(emit);
  // Before code is made: a refusal should not take that long.
  contents.provenance.exitLowering = options.exitLowering;
  if (failed(fillCommon(contents)) || failed(readFiles(**code, contents)) ||
      failed(emitObjects(emit, contents)))
    return failure();
  phase("writing");
  return writeArtifact(*module, **code, store, contents, options.output);
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX file to artifact: import, raise, insert exits, plan, make code, write.

#include "AdaptiveDialect/Driver/Compile.h"
#include "ModelFiles.h"

#include "AdaptiveDialect/Artifact/Writer.h"
#include "AdaptiveDialect/Import/Import.h"
#include "AdaptiveDialect/Import/PlainOnnx.h"
#include "AdaptiveDialect/Pipelines.h"
#include "AdaptiveDialect/Transforms/Passes.h"
#include "AdaptiveDialect/Transforms/WeightFormats.h"

#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using namespace adaptive;

namespace {
/// Rotary tables take positions * head_dim * 4 bytes of the artifact. A context
/// taken from a config file that only promises one stops here; --max-position
/// goes beyond.
constexpr int64_t maxConfigPosition = 32768;
constexpr int64_t maxPositionLimit = int64_t(1) << 20;

class Compiler {
public:
  Compiler(const CompileOptions &options, MLIRContext &context)
      : options(options), context(context), loc(UnknownLoc::get(&context)),
        folder(llvm::sys::path::parent_path(options.input).str()),
        store(folder.empty() ? "." : folder) {
    if (folder.empty())
      folder = ".";
  }

  LogicalResult run() {
    // Before anything is read: a refusal should not take as long as a model.
    if (failed(checkOptions()) || failed(checkOutput()))
      return failure();
    if (options.emit == "plain-onnx")
      return writePlain();
    if (StringRef(options.input).ends_with(".mlir")) {
      // A model saved with --emit=model; its weights are read again from the
      // files it names.
      module = parseSourceFile<ModuleOp>(options.input, ParserConfig(&context));
      if (!module)
        return failure();
    } else if (failed(importModel())) {
      return failure();
    }
    if (options.emit == "carrier")
      return writeModule();
    if (module->getOps<ModelOp>().empty()) {
      save("carrier.mlir");
      phase("raising");
      RaiseOptions raising;
      if (failed(chooseMaxPosition(raising)) ||
          failed(runPasses([&](OpPassManager &pm) {
            addRaisePipeline(pm, raising);
            return success();
          })))
        return failure();
    }
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
    return makeCode();
  }

private:
  LogicalResult error(const Twine &message) {
    return emitError(loc) << message;
  }

  void phase(StringRef what) {
    if (options.progress)
      options.progress(what, 0, 0);
  }

  LogicalResult checkOptions() {
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
    if (options.maxPosition < 0 || options.maxPosition > maxPositionLimit)
      return error("--max-position must lie in [1, " + Twine(maxPositionLimit) +
                   "]" +
                   (options.maxPosition < 0
                        ? Twine()
                        : ", but got " + Twine(options.maxPosition)));
    if (options.output.empty())
      return error("-o must name the artifact to write");
    return success();
  }

  LogicalResult checkOutput() {
    if (options.emit == "artifact") {
      auto ok = checkArtifactPath(options.output);
      return ok ? success() : error(ok.error());
    }
    if (options.emit == "plain-onnx" && options.output == "-")
      return error("--emit=plain-onnx needs -o: the file to write, Y.onnx");
    if (options.output == "-")
      return success();
    StringRef parent = llvm::sys::path::parent_path(options.output);
    std::error_code refused =
        llvm::sys::fs::is_directory(options.output)
            ? std::make_error_code(std::errc::is_a_directory)
            : llvm::sys::fs::access(parent.empty() ? "." : parent,
                                    llvm::sys::fs::AccessMode::Write);
    return refused ? cannotWrite(refused) : success();
  }

  LogicalResult cannotWrite(std::error_code reason) {
    return error("cannot write '" + options.output + "': " + reason.message());
  }

  LogicalResult writePlain() {
    if (!StringRef(options.input).ends_with(".onnx"))
      return error("--emit=plain-onnx needs an ONNX file, but got '" +
                   options.input + "'");
    phase("inlining functions");
    auto done = writePlainOnnx(options.input, options.output);
    return done ? success() : error(done.error());
  }

  LogicalResult chooseMaxPosition(RaiseOptions &raising) {
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

  LogicalResult
  runPasses(llvm::function_ref<LogicalResult(OpPassManager &)> build) {
    PassManager pm(&context, ModuleOp::getOperationName());
    if (failed(build(pm)))
      return failure();
    return pm.run(*module);
  }

  LogicalResult importModel() {
    phase("importing");
    module = importOnnx(options.input, &context, store);
    return success(bool(module));
  }

  LogicalResult insertExits() {
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

  LogicalResult plan(OpPassManager &pm) {
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
  LogicalResult readFiles(const cpu::CodePlan &code,
                          ArtifactContents &contents) {
    if (auto tokenizer = readTokenizer(folder, options.tokenizer))
      contents.tokenizer = *tokenizer;
    else
      return error(tokenizer.error());
    contents.eos = options.eos;
    if (contents.eos.empty()) {
      auto eos = readEndOfText(folder, contents.tokenizer);
      if (!eos)
        return error(eos.error());
      contents.eos = *eos;
    }
    for (const auto &stage : code.stages)
      for (int64_t id : contents.eos)
        if (stage->logits && (id < 0 || id >= stage->logitsWidth))
          return error("end-of-text id must lie in [0, " +
                       Twine(stage->logitsWidth) + "), but got " + Twine(id));
    return success();
  }

  FailureOr<std::string> emit(const cpu::CodePlan &code, cpu::Level level,
                              cpu::CodeStage stop) {
    phase(("compiling for " + cpu::levelName(level)).str());
    return cpu::emitCode(*module, code, level, stop);
  }

  LogicalResult makeCode() {
    auto code = cpu::planCode(*module);
    if (failed(code))
      return failure();
    ArtifactContents contents;
    contents.name = llvm::sys::path::stem(options.input).str();
    contents.linearFormat = options.weights;
    contents.headFormat =
        headFormat(options.weights, options.headWeights).str();
    contents.progress = options.progress;
    // Before code is made: a refusal should not take that long.
    if (options.emit == "artifact" && failed(readFiles(**code, contents)))
      return failure();
    SmallVector<cpu::Level> levels;
    for (cpu::Level level : {cpu::Level::V3, cpu::Level::AVX512})
      if (llvm::is_contained(options.cpuLevels, cpu::levelName(level)))
        levels.push_back(level);
    if (options.emit != "artifact") {
      // Text is that of the best level asked for.
      cpu::CodeStage stop = options.emit == "kernel" ? cpu::CodeStage::Kernel
                            : options.emit == "llvm" ? cpu::CodeStage::LLVM
                                                     : cpu::CodeStage::Assembly;
      auto text = emit(**code, levels.back(), stop);
      return failed(text) ? failure() : writeText(*text);
    }
    for (cpu::Level level : levels) {
      if (!options.saveTemps.empty()) {
        auto text = emit(**code, level, cpu::CodeStage::LLVM);
        if (failed(text))
          return failure();
        saveText((cpu::levelName(level) + ".ll").str(), *text);
      }
      auto object = emit(**code, level, cpu::CodeStage::SharedObject);
      if (failed(object))
        return failure();
      contents.code.push_back({level, std::move(*object)});
    }
    phase("writing");
    return writeArtifact(*module, **code, store, contents, options.output);
  }

  std::string printed() {
    std::string result;
    llvm::raw_string_ostream(result) << *module << "\n";
    return result;
  }
  LogicalResult writeModule() { return writeText(printed()); }

  LogicalResult writeText(StringRef content) {
    std::error_code failed;
    llvm::ToolOutputFile file(options.output, failed, llvm::sys::fs::OF_Text);
    if (failed)
      return cannotWrite(failed);
    file.os() << content;
    file.keep();
    return success();
  }

  void save(StringRef name) {
    if (!options.saveTemps.empty())
      saveText(name, printed());
  }
  void saveText(StringRef name, StringRef content) {
    if (std::error_code failed =
            llvm::sys::fs::create_directories(options.saveTemps)) {
      emitWarning(loc) << "--save-temps: " << failed.message();
      return;
    }
    llvm::SmallString<256> path(options.saveTemps);
    llvm::sys::path::append(path, name);
    std::error_code failed;
    llvm::raw_fd_ostream file(path, failed);
    if (failed)
      emitWarning(loc) << "--save-temps: cannot write '" << path << "'";
    else
      file << content;
  }

  const CompileOptions &options;
  MLIRContext &context;
  Location loc;
  std::string folder;
  WeightStore store;
  OwningOpRef<ModuleOp> module;
};
} // namespace

LogicalResult adaptive::compileModel(const CompileOptions &options,
                                     MLIRContext &context) {
  return Compiler(options, context).run();
}

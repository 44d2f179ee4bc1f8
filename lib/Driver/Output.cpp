// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What every path of the compiler does: run passes, make code, write text.

#include "Compiler.h"

#include "ee/output.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <unistd.h>

using namespace mlir;
using namespace adaptive;

LogicalResult Compiler::error(const Twine &message) {
  return emitError(loc) << message;
}

void Compiler::phase(StringRef what) {
  instrumentation.beginPhase(what);
  if (options.progress)
    options.progress(what, 0, 0);
}

LogicalResult
Compiler::runPasses(llvm::function_ref<LogicalResult(OpPassManager &)> build) {
  PassManager pm(&context, ModuleOp::getOperationName());
  if (failed(instrumentation.apply(pm)))
    return failure();
  if (failed(build(pm)))
    return failure();
  return pm.run(*module);
}

SmallVector<cpu::Level> Compiler::levels() const {
  SmallVector<cpu::Level> result;
  for (cpu::Level level : {cpu::Level::V3, cpu::Level::AVX512})
    if (llvm::is_contained(options.cpuLevels, cpu::levelName(level)))
      result.push_back(level);
  return result;
}

LogicalResult Compiler::emitText(Emit emit) {
  cpu::CodeStage stop = options.emit == "kernel" ? cpu::CodeStage::Kernel
                        : options.emit == "llvm" ? cpu::CodeStage::LLVM
                                                 : cpu::CodeStage::Assembly;
  // Text is that of the best level asked for.
  cpu::Level level = levels().back();
  phase(("compiling for " + cpu::levelName(level)).str());
  auto text = emit(level, stop);
  return failed(text) ? failure() : writeText(*text);
}

LogicalResult Compiler::emitObjects(Emit emit, ArtifactContents &contents) {
  for (cpu::Level level : levels()) {
    phase(("compiling for " + cpu::levelName(level)).str());
    if (!options.saveTemps.empty()) {
      auto text = emit(level, cpu::CodeStage::LLVM);
      if (failed(text))
        return failure();
      saveText((cpu::levelName(level) + ".ll").str(), *text);
    }
    auto object = emit(level, cpu::CodeStage::SharedObject);
    if (failed(object))
      return failure();
    contents.code.push_back({level, std::move(*object)});
  }
  return success();
}

LogicalResult Compiler::fillCommon(ArtifactContents &contents) {
  contents.name = llvm::sys::path::stem(options.input).str();
  contents.progress = options.progress;
  Provenance &origin = contents.provenance;
  auto source = readSourceFile(options.input);
  if (!source)
    return error(source.error());
  origin.source = *source;
  if (!options.exits.empty()) {
    auto exits = readSourceFile(options.exits);
    if (!exits)
      return error(exits.error());
    origin.exits = *exits;
  }
  origin.command = options.command;
  origin.date = options.runtime.date;
  if (options.runtime.loadArtifact)
    contents.check = [this](const std::string &folder) -> ee::Expected<void> {
      phase("loading");
      auto loaded = options.runtime.loadArtifact(folder);
      if (!loaded)
        return ee::Failure{"what was compiled cannot be loaded: " +
                           loaded.error()};
      return loaded;
    };
  return success();
}

std::string Compiler::printed() {
  std::string result;
  llvm::raw_string_ostream(result) << *module << "\n";
  return result;
}

LogicalResult Compiler::writeText(StringRef content) {
  auto done = options.output == "-"
                  ? ee::writeAll(STDOUT_FILENO, content, "to standard output")
                  : ee::writeOutput(options.output, content);
  return done ? success() : error(done.error());
}

void Compiler::save(StringRef name) {
  if (!options.saveTemps.empty())
    saveText(name, printed());
}

void Compiler::saveText(StringRef name, StringRef content) {
  if (std::error_code failed = llvm::sys::fs::create_directories(
          options.saveTemps,
          /*IgnoreExisting=*/true, llvm::sys::fs::all_all)) {
    emitWarning(loc) << "--save-temps: " << failed.message();
    return;
  }
  llvm::SmallString<256> path(options.saveTemps);
  llvm::sys::path::append(path, name);
  if (auto done = ee::writeOutput(std::string(path), content); !done)
    emitWarning(loc) << "--save-temps: " << done.error();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A module in function form to the artifact of a function.

#include "Compiler.h"
#include "Diagnostics.h"

#include "AdaptiveDialect/Conversion/CPU/Function.h"
#include "AdaptiveDialect/Conversion/OnnxToLinalg.h"
#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/IR/Onnx.h"
#include "AdaptiveDialect/Import/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace adaptive;

/// A function without carrier ops; a graph that was imported has them.
bool Compiler::isFunctionForm() {
  if (module->getOps<func::FuncOp>().empty())
    return false;
  return !module
              ->walk([](Operation *op) {
                return isa<onnx_carrier::OnnxDialect>(op->getDialect())
                           ? WalkResult::interrupt()
                           : WalkResult::advance();
              })
              .wasInterrupted();
}

/// Imports the file again with the bodies of what has no lowering.
LogicalResult Compiler::importForFunction() {
  if (StringRef(options.input).ends_with(".mlir")) // raising may have begun
    return readInput();
  phase("importing as a function");
  store = WeightStore(folder);
  ImportOptions expanding;
  expanding.expandOperators = [](StringRef domain, StringRef op) {
    return !hasLinalgLowering(domain, op);
  };
  expanding.inlineFunctions = expanding.expandOperators;
  module = importOnnx(options.input, &context, store, expanding);
  return success(bool(module));
}

/// A carrier graph as a function; the errors are one line.
LogicalResult Compiler::compileGraph() {
  std::string summary;
  {
    std::optional<DiagnosticCapture> capture;
    if (!options.remarks)
      capture.emplace(&context);
    if (succeeded(importForFunction()) &&
        succeeded(runPasses([](OpPassManager &pm) {
          pm.addPass(createOnnxToLinalg());
          return success();
        })) &&
        succeeded(compileFunction()))
      return success();
    if (!capture)
      return failure();
    summary = capture->summary("the graph cannot be compiled as a function");
  }
  return error(summary);
}

/// The graph is no decoder, and --kind leaves it open what it becomes.
LogicalResult Compiler::compileGraphInstead(StringRef why) {
  if (!options.decoderFlags.empty())
    return error(options.decoderFlags.front() +
                 " is for decoders, and this graph is not one: " + why);
  std::string summary;
  {
    DiagnosticCapture capture(&context);
    if (succeeded(compileGraph())) {
      if (options.note)
        options.note(("not a decoder: " + why +
                      "; compiled as a function, for ee-run run")
                         .str());
      return success();
    }
    summary = capture.summary("the graph cannot be compiled");
  }
  // One line for both ways, the more likely one first.
  return error(why + "; nor as a function: " + summary);
}

LogicalResult Compiler::compileFunction() {
  if (!options.decoderFlags.empty())
    return error(options.decoderFlags.front() + " is for decoders, but '" +
                 options.input + "' is in function form");
  if (failed(runPasses([](OpPassManager &pm) {
        pm.addPass(createVerifyFunction());
        return success();
      })))
    return failure();
  if (options.emit == "model")
    return writeModule();
  if (options.emit == "planned")
    return error("--emit=planned is for decoders; a function goes from model "
                 "to kernel");
  save("model.mlir");
  auto emit = [&](cpu::Level level, cpu::CodeStage stop) {
    return cpu::compileFunction(*module, level, stop);
  };
  if (options.emit != "artifact")
    return emitText(emit);
  if (!options.saveTemps.empty()) {
    auto text = emit(levels().back(), cpu::CodeStage::Kernel);
    if (failed(text))
      return failure();
    saveText("kernel.mlir", *text);
  }
  ArtifactContents contents;
  if (failed(fillCommon(contents)) || failed(emitObjects(emit, contents)))
    return failure();
  phase("writing");
  return writeFunctionArtifact(*module, store, contents, options.output);
}

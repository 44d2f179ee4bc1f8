// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One run of the compiler: what the paths to an artifact share.

#ifndef ADAPTIVE_LIB_DRIVER_COMPILER_H
#define ADAPTIVE_LIB_DRIVER_COMPILER_H

#include "Instrumentation.h"

#include "AdaptiveDialect/Artifact/Writer.h"
#include "AdaptiveDialect/Driver/Compile.h"
#include "AdaptiveDialect/Pipelines.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/PassManager.h"

namespace adaptive {

class Compiler {
public:
  Compiler(const CompileOptions &options, mlir::MLIRContext &context);
  mlir::LogicalResult run();

private:
  // Compile.cpp: options, input, and which path to take.
  mlir::LogicalResult checkOptions();
  mlir::LogicalResult checkOutput();
  mlir::LogicalResult writePlain();
  mlir::LogicalResult chooseMaxPosition(RaiseOptions &raising);
  mlir::LogicalResult readInput();
  mlir::LogicalResult raise(std::string &why);
  mlir::LogicalResult checkModel();

  // DecoderPath.cpp: from a model over rows to a decoder's artifact.
  mlir::LogicalResult compileDecoder();
  mlir::LogicalResult insertExits();
  mlir::LogicalResult plan(mlir::OpPassManager &pm);
  mlir::LogicalResult readFiles(const cpu::CodePlan &code,
                                ArtifactContents &contents);
  mlir::LogicalResult makeDecoderCode();

  // FunctionPath.cpp: from function form to a function's artifact.
  bool isFunctionForm();
  mlir::LogicalResult importForFunction();
  mlir::LogicalResult compileGraph();
  mlir::LogicalResult compileGraphInstead(llvm::StringRef whyNoDecoder);
  mlir::LogicalResult compileFunction();

  // Output.cpp: running passes, text and code files, messages.
  mlir::LogicalResult error(const llvm::Twine &message);
  void phase(llvm::StringRef what);
  mlir::LogicalResult
      runPasses(llvm::function_ref<mlir::LogicalResult(mlir::OpPassManager &)>);
  /// Makes code with `emit`, as text for --emit or for each level of
  /// `contents`.
  using Emit = llvm::function_ref<mlir::FailureOr<std::string>(cpu::Level,
                                                               cpu::CodeStage)>;
  mlir::LogicalResult emitText(Emit emit);
  mlir::LogicalResult emitObjects(Emit emit, ArtifactContents &contents);
  llvm::SmallVector<cpu::Level> levels() const;
  std::string printed();
  mlir::LogicalResult writeModule() { return writeText(printed()); }
  mlir::LogicalResult writeText(llvm::StringRef content);
  /// What `contents` of either kind say: name, origin, and who checks them.
  mlir::LogicalResult fillCommon(ArtifactContents &contents);
  void save(llvm::StringRef name);
  void saveText(llvm::StringRef name, llvm::StringRef content);

  const CompileOptions &options;
  mlir::MLIRContext &context;
  mlir::Location loc;
  std::string folder;
  WeightStore store;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  Instrumentation instrumentation;
};

} // namespace adaptive

#endif // ADAPTIVE_LIB_DRIVER_COMPILER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Test driver of the importer:
//   ee-import FILE.onnx     prints the carrier module
//   ee-import FILE.mlir     reads a printed module back
//   --linalg                as the general path imports: operators without a
//                           lowering are expanded, all functions inlined; then
//                           runs onnx-to-linalg
//   --dump-weights=DIR      writes the bytes of each weight to DIR/<number> and
//                           prints "<number> <symbol> <names>"
//   --batch FILE...         imports each file and says what became of it, with
//                           the errors of a refused one; exits 0 unless it
//                           crashes
//   --supported-ops         prints the page of operators that --linalg lowers

#include "AdaptiveDialect/Conversion/OnnxToLinalg.h"
#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/IR/Adaptive.h"
#include "AdaptiveDialect/IR/Onnx.h"
#include "AdaptiveDialect/Import/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
namespace cl = llvm::cl;

namespace {

struct Flags {
  cl::list<std::string> files{cl::Positional, cl::desc("FILE")};
  cl::list<std::string> expand{
      "expand", cl::CommaSeparated,
      cl::desc("operators to replace by their ONNX body, * for all")};
  cl::list<std::string> inlined{
      "inline", cl::CommaSeparated,
      cl::desc("local functions to inline, as domain::Name")};
  cl::opt<int64_t> targetOpset{"target-opset", cl::init(23),
                               cl::desc("opset to convert to")};
  cl::opt<bool> linalg{"linalg", cl::desc("lower to linalg")};
  cl::opt<bool> supported{"supported-ops",
                          cl::desc("list what --linalg lowers")};
  cl::opt<bool> locations{"locations", cl::desc("print locations")};
  cl::opt<bool> batch{"batch",
                      cl::desc("import every file, print one line each")};
  cl::opt<std::string> dumpWeights{"dump-weights",
                                   cl::desc("folder for the weights' bytes")};
};

struct Loaded {
  adaptive::WeightStore store;
  OwningOpRef<ModuleOp> module;
};

Loaded load(llvm::StringRef path, MLIRContext &context, const Flags &flags) {
  Loaded loaded{adaptive::WeightStore(llvm::sys::path::parent_path(path).str()),
                {}};
  if (path.ends_with(".mlir")) {
    loaded.module = parseSourceFile<ModuleOp>(path, &context);
    return loaded;
  }
  llvm::StringSet<> expand, inlined;
  for (const std::string &name : flags.expand)
    expand.insert(name);
  for (const std::string &name : flags.inlined)
    inlined.insert(name);
  adaptive::ImportOptions options;
  options.targetOpset = flags.targetOpset;
  options.expandOperators = [&](llvm::StringRef, llvm::StringRef op) {
    return expand.contains("*") || expand.contains(op) ||
           (flags.linalg && !adaptive::hasLinalgLowering("", op));
  };
  options.inlineFunctions = [&](llvm::StringRef domain, llvm::StringRef op) {
    return flags.linalg || inlined.contains((domain + "::" + op).str());
  };
  loaded.module = adaptive::importOnnx(path, &context, loaded.store, options);
  if (!flags.linalg || !loaded.module)
    return loaded;
  PassManager pm(&context);
  pm.addPass(adaptive::createOnnxToLinalg());
  if (failed(pm.run(*loaded.module)))
    loaded.module = nullptr;
  return loaded;
}

bool dumpWeights(Loaded &loaded, llvm::StringRef folder) {
  unsigned number = 0;
  for (auto op : loaded.module->getOps<adaptive::WeightOp>()) {
    auto view = loaded.store.get(op);
    if (!view) {
      llvm::errs() << "error: " << view.error() << "\n";
      return false;
    }
    std::error_code error;
    llvm::raw_fd_ostream file((folder + "/" + llvm::Twine(number)).str(),
                              error);
    if (error) {
      llvm::errs() << "error: " << folder << ": " << error.message() << "\n";
      return false;
    }
    file << llvm::StringRef(view->data.data(), view->data.size());
    llvm::outs() << number++ << " " << op.getSymName();
    if (auto names = op->getAttrOfType<ArrayAttr>("onnx.names"))
      for (Attribute name : names)
        llvm::outs() << " " << cast<StringAttr>(name).getValue();
    llvm::outs() << "\n";
  }
  return true;
}

void runBatch(MLIRContext &context, const Flags &flags) {
  for (const std::string &path : flags.files) {
    std::vector<std::string> errors;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
      if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
        errors.push_back(diagnostic.str());
      return success();
    });
    Loaded loaded = load(path, context, flags);
    llvm::outs() << path << ": ";
    if (!loaded.module) {
      llvm::outs() << "refused " << llvm::join(errors, " | ") << "\n";
      continue;
    }
    unsigned nodes = 0;
    loaded.module->walk([&](onnx_carrier::NodeOp) { ++nodes; });
    llvm::outs() << "imported " << nodes << " nodes\n";
  }
}

void printSupported() {
  llvm::outs() << "<!-- Autogenerated by utils/gen-docs.sh; do not edit. -->\n"
                  "# Supported ONNX operators\n\n"
                  "What `onnx-to-linalg` lowers by itself, in the default "
                  "domain. Operators that are not listed are replaced by the "
                  "body that ONNX's schema or the file gives for them; one "
                  "that has none is refused by name. Elements are bool, "
                  "integers of 8 to 64 bits, float16, bfloat16, float and "
                  "double. Sizes may be unknown until the model runs, ranks "
                  "may not. Decoders are raised instead (see "
                  "[Architecture](Architecture.md)).\n";
  std::string family;
  for (const adaptive::LinalgOperator &op : adaptive::linalgOperators()) {
    if (op.family != family)
      llvm::outs() << "\n## " << op.family
                   << "\n\n| operator | limits |\n|---|---|\n";
    family = op.family;
    llvm::outs() << "| " << op.name << " | " << op.note << " |\n";
  }
}

} // namespace

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  Flags flags;
  cl::ParseCommandLineOptions(
      argc, argv, "prints what the importer makes of an ONNX file\n");

  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler([](Diagnostic &diagnostic) {
    bool isError = diagnostic.getSeverity() == DiagnosticSeverity::Error;
    llvm::errs() << (isError ? "error: " : "warning: ") << diagnostic << "\n";
    return success();
  });
  context.loadDialect<adaptive::AdaptiveDialect, onnx_carrier::OnnxDialect,
                      func::FuncDialect>();
  if (flags.supported) {
    printSupported();
    return 0;
  }
  if (flags.files.empty()) {
    llvm::errs() << "error: name a file\n";
    return 1;
  }
  if (flags.batch) {
    runBatch(context, flags);
    return 0;
  }
  Loaded loaded = load(flags.files.front(), context, flags);
  if (!loaded.module)
    return 1;
  if (!flags.dumpWeights.empty())
    return dumpWeights(loaded, flags.dumpWeights) ? 0 : 1;
  OpPrintingFlags printing;
  if (flags.locations)
    printing.enableDebugInfo();
  loaded.module->print(llvm::outs(), printing);
  llvm::outs() << "\n";
  return 0;
}

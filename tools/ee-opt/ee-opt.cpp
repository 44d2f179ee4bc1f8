// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ee-opt: compiles an ONNX file to an artifact, or runs passes over .mlir.

#include "AdaptiveDialect/Driver/CommandLine.h"
#include "AdaptiveDialect/Register.h"
#include "runtime_hooks.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Debug.h"
#include "llvm/Support/raw_ostream.h"

#include <optional>
#include <string>
#include <vector>

#ifndef NDEBUG
namespace {
/// LLVM's own flag exists only where LLVM itself was built with assertions.
struct DebugLog {
  static bool hasFlag() {
    return llvm::cl::getRegisteredOptions().contains("debug-only");
  }
  static void enable(const std::vector<std::string> &types) {
    std::vector<const char *> names;
    for (const std::string &type : types)
      names.push_back(type.c_str());
    llvm::DebugFlag = true;
    llvm::setCurrentDebugTypes(names.data(), unsigned(names.size()));
  }
  std::vector<std::string> types;
  llvm::cl::list<std::string> only{
      "debug-only", llvm::cl::CommaSeparated, llvm::cl::value_desc("pass,..."),
      llvm::cl::desc("log the decisions of these passes, by their flags"),
      llvm::cl::callback([this](const std::string &type) {
        types.push_back(type);
        enable(types);
      })};
};
} // namespace
#endif

int main(int argc, char **argv) {
#ifndef NDEBUG
  std::optional<DebugLog> log;
  if (!DebugLog::hasFlag())
    log.emplace();
#endif
  mlir::DialectRegistry registry;
  adaptive::registerEverything(registry);
  if (adaptive::isCompileCommand(argc, argv)) {
    auto hooks = runtimeHooks();
    if (!hooks) {
      llvm::errs() << "ee-opt: error: " << hooks.error() << "\n";
      return 1;
    }
    return adaptive::compileMain(argc, argv, registry, *hooks);
  }
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "adaptive-depth optimizer\n", registry));
}

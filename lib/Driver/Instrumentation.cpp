// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Seeing inside of a compilation: MLIR's own flags for printing, timing and
// reproducing passes, for every pass manager that the compiler runs.

#include "Instrumentation.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Remarks.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/CommandLine.h"

using namespace mlir;
using namespace adaptive;

void adaptive::registerInstrumentationFlags() {
  registerAsmPrinterCLOptions();
  registerMLIRContextCLOptions();
  registerPassManagerCLOptions();
  registerDefaultTimingManagerCLOptions();
}

void adaptive::prepareForInstrumentation(MLIRContext &context) {
  // A pass manager takes these only where no other thread is at work.
  for (StringRef flag :
       {"mlir-print-ir-module-scope", "mlir-pass-pipeline-local-reproducer"}) {
    auto &options = llvm::cl::getRegisteredOptions();
    auto option = options.find(flag);
    if (option != options.end() && option->second->getNumOccurrences())
      context.disableMultithreading();
  }
}

namespace {
class ChoicePrinter : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit ChoicePrinter(std::function<void(StringRef)> print)
      : print(std::move(print)) {}
  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    std::string text = remark.getCategoryName().str() + ": ";
    for (const auto &part : remark.getArgs())
      text += part.val;
    print(text);
  }

private:
  std::function<void(StringRef)> print;
};
} // namespace

void adaptive::printChoices(MLIRContext &context,
                            std::function<void(StringRef)> print) {
  remark::RemarkCategories ours;
  ours.passed = "adaptive-.*";
  // Fails on bad patterns only.
  LogicalResult done = remark::enableOptimizationRemarks(
      context, std::make_unique<ChoicePrinter>(std::move(print)),
      std::make_unique<remark::RemarkEmittingPolicyAll>(), ours);
  assert(succeeded(done));
  (void)done;
}

Instrumentation::Instrumentation() {
  applyDefaultTimingManagerCLOptions(manager);
  whole = manager.getRootScope();
}

void Instrumentation::beginPhase(StringRef what) {
  phase.stop();
  phase = whole.nest(what);
}

LogicalResult Instrumentation::apply(PassManager &pm) {
  pm.enableTiming(phase ? phase : whole);
  return applyPassManagerCLOptions(pm);
}

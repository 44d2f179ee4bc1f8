// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Diagnostics as a user reads them; see Diagnostics.h.

#include "Diagnostics.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace adaptive;

/// The ONNX node (or file) a location speaks of.
static std::string nodeOf(Location loc) {
  std::string name;
  loc->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner)) {
      name = "node '" + named.getName().str() + "'";
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return name;
}

std::string adaptive::describe(const Diagnostic &diagnostic) {
  std::string text = diagnostic.str();
  llvm::replace(text, '\n', ' ');
  std::string node = nodeOf(diagnostic.getLocation());
  if (node.empty() || text.find(node) != std::string::npos)
    return text;
  return node + ": " + text;
}

DiagnosticCapture::DiagnosticCapture(MLIRContext *context, bool holdsWarnings)
    : handler(context, [this, holdsWarnings](Diagnostic &diagnostic) {
        constexpr StringRef unraised = "not raised: ";
        // What --mlir-pass-pipeline-crash-reproducer adds is no reason.
        constexpr StringRef reproduced = "Failures have been detected";
        if (diagnostic.getSeverity() == DiagnosticSeverity::Error) {
          if (!StringRef(diagnostic.str()).starts_with(reproduced))
            failed.push_back(describe(diagnostic));
          return success();
        }
        if (holdsWarnings &&
            diagnostic.getSeverity() == DiagnosticSeverity::Warning) {
          warned.push_back(describe(diagnostic));
          return success();
        }
        std::string text = diagnostic.str();
        if (StringRef(text).starts_with(unraised))
          reasons.push_back(text.substr(unraised.size()));
        // Others print remarks, or do not.
        return failure();
      }) {}

std::string DiagnosticCapture::summary(StringRef otherwise) const {
  const std::vector<std::string> &list = reasons.empty() ? failed : reasons;
  if (list.empty())
    return otherwise.str();
  std::string text = list.front();
  llvm::replace(text, '\n', ' ');
  if (list.size() > 1)
    text += " (and " + std::to_string(list.size() - 1) +
            " more places, listed by --remarks)";
  return text;
}

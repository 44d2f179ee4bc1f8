// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Diagnostics as a user reads them: one line that names the node.

#ifndef ADAPTIVE_LIB_DRIVER_DIAGNOSTICS_H
#define ADAPTIVE_LIB_DRIVER_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"

#include <string>
#include <vector>

namespace adaptive {

/// The text on one line, with the ONNX node that its location names in front
/// unless the text names it.
std::string describe(const mlir::Diagnostic &diagnostic);

/// Keeps errors from being printed while it lives, and warnings if asked to.
/// Raising says of each node in its way why, as a remark, before it fails;
/// these count before its error.
class DiagnosticCapture {
public:
  explicit DiagnosticCapture(mlir::MLIRContext *context,
                             bool holdsWarnings = false);

  /// The first reason and how many more there are, or `otherwise` where nothing
  /// was said.
  std::string summary(llvm::StringRef otherwise) const;
  /// The errors as they came.
  const std::vector<std::string> &errors() const { return failed; }
  const std::vector<std::string> &warnings() const { return warned; }

private:
  std::vector<std::string> reasons, failed, warned;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace adaptive

#endif // ADAPTIVE_LIB_DRIVER_DIAGNOSTICS_H

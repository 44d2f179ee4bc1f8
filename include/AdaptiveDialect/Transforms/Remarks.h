// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a pass chose, for a person who asks: ee-opt's --remarks shows it, and
// mlir-opt's --remarks-filter=adaptive.

#ifndef ADAPTIVEDIALECT_TRANSFORMS_REMARKS_H
#define ADAPTIVEDIALECT_TRANSFORMS_REMARKS_H

#include "mlir/IR/Location.h"
#include "mlir/IR/Remarks.h"

namespace adaptive {

/// A remark of the pass with this flag, a literal. What is streamed into it is
/// dropped unless somebody asked for remarks.
inline mlir::remark::detail::InFlightRemark chose(mlir::Location loc,
                                                  llvm::StringLiteral pass) {
  return mlir::remark::passed(
      loc, mlir::remark::RemarkOpts::name(pass).category(pass));
}

} // namespace adaptive

#endif // ADAPTIVEDIALECT_TRANSFORMS_REMARKS_H

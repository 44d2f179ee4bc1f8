// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Registration of the adaptive dialect, its types and attributes.

#include "AdaptiveDialect/IR/Adaptive.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace adaptive;

#include "AdaptiveDialect/IR/AdaptiveDialect.cpp.inc"
#include "AdaptiveDialect/IR/AdaptiveEnums.cpp.inc"
#include "AdaptiveDialect/IR/AdaptiveOpInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "AdaptiveDialect/IR/AdaptiveAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "AdaptiveDialect/IR/AdaptiveTypes.cpp.inc"

void AdaptiveDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "AdaptiveDialect/IR/AdaptiveOps.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "AdaptiveDialect/IR/AdaptiveTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "AdaptiveDialect/IR/AdaptiveAttrs.cpp.inc"
      >();
}

LogicalResult KVType::verify(function_ref<InFlightDiagnostic()> emitError,
                             int64_t heads, int64_t headDim) {
  if (heads <= 0 || headDim <= 0)
    return emitError() << "heads and head dimension must be positive, but got "
                       << heads << " x " << headDim;
  return success();
}

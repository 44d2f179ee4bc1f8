// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Registration of the adaptive dialect, its types and attributes.

#include "AdaptiveDialect/IR/Adaptive.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FoldInterfaces.h"
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

namespace {
/// Keeps folded constants inside elementwise regions: these are inlined into
/// kernels as they stand and must not read values of the model around them.
struct AdaptiveFoldInterface : DialectFoldInterface {
  using DialectFoldInterface::DialectFoldInterface;
  bool shouldMaterializeInto(Region *region) const final {
    return isa<MapOp, LinearOp>(region->getParentOp());
  }
};
} // namespace

void AdaptiveDialect::initialize() {
  addInterfaces<AdaptiveFoldInterface>();
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
  // The bound keeps products of the two exact.
  constexpr int64_t bound = 1 << 20;
  if (heads <= 0 || headDim <= 0 || heads > bound || headDim > bound)
    return emitError() << "heads and head dimension must lie in [1, " << bound
                       << "], but got " << heads << " x " << headDim;
  return success();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the planned model.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "OpUtils.h"

#include "ee/abi.h"

#include "llvm/Support/CheckedArithmetic.h"

#include <optional>

#include <cmath>

using namespace mlir;
using namespace adaptive;

LogicalResult KVLevelOp::verify() {
  int64_t first = getFirst(), end = getEnd(), heads = getHeads(),
          headDim = getHeadDim(), page = getPage();
  if (first < 0 || end <= first || heads <= 0 || headDim <= 0 || page <= 0)
    return emitOpError("needs a non-empty range of layers and positive sizes");
  // getPageBytes() multiplies these.
  std::optional<int64_t> bytes = end - first;
  for (int64_t factor : {heads, headDim, page, int64_t(8)})
    bytes = bytes ? llvm::checkedMul(*bytes, factor) : bytes;
  if (!bytes)
    return emitOpError("page must have fewer than 2^63 bytes");
  auto module = (*this)->getParentOfType<ModuleOp>();
  if (!module)
    return success();
  for (auto other : module.getOps<KVLevelOp>())
    if (other != *this && other.getFirst() < getEnd() &&
        getFirst() < other.getEnd())
      return emitOpError("overlaps level @") << other.getSymName();
  return success();
}

LogicalResult ExitEntryOp::verify() {
  if (int64_t(getIndex()) < 0 || getIndex() >= EE_MAX_EXITS)
    return emitOpError("index must lie in [0, ")
           << EE_MAX_EXITS << "), but got " << int64_t(getIndex());
  if (int64_t(getDepth()) < 0)
    return emitOpError("depth must not be negative, but got ")
           << int64_t(getDepth());
  if (std::isnan(getThreshold().convertToDouble()))
    return emitOpError("threshold must be a number");
  return success();
}

LogicalResult StageOp::verify() {
  int64_t depth = getDepth();
  if (depth < 0)
    return emitOpError("depth must not be negative, but got ") << depth;
  int64_t exit = getExit().value_or(0);
  if (exit < 0 || exit >= EE_MAX_EXITS)
    return emitOpError("exit must lie in [0, ")
           << EE_MAX_EXITS << "), but got " << exit;
  int64_t maxRows = getMaxRows().value_or(1);
  if (maxRows < 1 || maxRows > EE_MAX_LAUNCH_ROWS)
    return emitOpError("max_rows must lie in [1, ")
           << EE_MAX_LAUNCH_ROWS << "], but got " << maxRows;
  return success();
}

LogicalResult StageOp::verifyRegions() {
  Block &body = getBody().front();
  auto yield = dyn_cast<YieldOp>(body.getTerminator());
  if (!yield)
    return emitOpError("body must end in a yield");
  if (getReads().size() != body.getNumArguments())
    return emitOpError("reads ") << getReads().size() << " columns but takes "
                                 << body.getNumArguments() << " arguments";
  if (getWrites().size() != yield.getValues().size())
    return emitOpError("writes ")
           << getWrites().size() << " columns but yields "
           << yield.getValues().size() << " values";
  return success();
}

LogicalResult StageOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (FlatSymbolRefAttr level = getLevelAttr())
    if (!symbols.lookupNearestSymbolFrom<KVLevelOp>(*this, level))
      return emitOpError("must name a KV level, but got ") << level;
  return success();
}

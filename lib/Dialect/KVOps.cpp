// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Verifiers of the KV ops.

#include "AdaptiveDialect/IR/Adaptive.h"
#include "OpUtils.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;

LogicalResult KVAppendOp::verify() {
  int64_t width = getKv().getType().getHeads() * getKv().getType().getHeadDim();
  if (rowWidth(getKeys().getType()) != width ||
      getKeys().getType() != getValues().getType())
    return emitOpError("keys and values must be tensor<?x") << width << "xf32>";
  return success();
}

LogicalResult AttendOp::verify() {
  KVType kv = getKv().getType();
  if (int64_t(getHeads()) <= 0 || getHeads() % kv.getHeads() != 0)
    return emitOpError("heads must be a positive multiple of the ")
           << kv.getHeads() << " KV heads, but got " << getHeads();
  int64_t width = rowWidth(getQuery().getType());
  if (width % kv.getHeadDim() != 0 ||
      width / kv.getHeadDim() != int64_t(getHeads()))
    return emitOpError("query must be rows of ")
           << getHeads() << " heads of " << kv.getHeadDim() << ", but got "
           << getQuery().getType();
  double scale = getScale().convertToDouble();
  if (!(scale > 0) || std::isinf(scale))
    return emitOpError("scale must be positive and finite, but got ") << scale;
  return success();
}

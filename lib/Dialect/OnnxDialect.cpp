// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Registration of the carrier dialect.

#include "AdaptiveDialect/IR/Onnx.h"

using namespace mlir;
using namespace onnx_carrier;

#include "AdaptiveDialect/IR/OnnxDialect.cpp.inc"
#define GET_OP_CLASSES
#include "AdaptiveDialect/IR/OnnxOps.cpp.inc"

void OnnxDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "AdaptiveDialect/IR/OnnxOps.cpp.inc"
      >();
}

LogicalResult NodeOp::verify() {
  if (int64_t(getOpset()) <= 0)
    return emitOpError("version must be positive, but got ")
           << int64_t(getOpset());
  size_t names = getGraphs() ? getGraphs()->size() : 0;
  if (names != getNumRegions())
    return emitOpError("graphs names ")
           << names << " subgraphs, but there are " << getNumRegions();
  return success();
}

LogicalResult ConstantOp::verify() {
  if (getValue().getType() != getOutput().getType())
    return emitOpError("result must have the type of the value ")
           << getValue().getType();
  return success();
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

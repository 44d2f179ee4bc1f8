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

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

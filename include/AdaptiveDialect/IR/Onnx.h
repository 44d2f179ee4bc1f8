// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// C++ classes of the carrier dialect for ONNX nodes.

#ifndef ADAPTIVEDIALECT_IR_ONNX_H
#define ADAPTIVEDIALECT_IR_ONNX_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "AdaptiveDialect/IR/OnnxDialect.h.inc"
#define GET_OP_CLASSES
#include "AdaptiveDialect/IR/OnnxOps.h.inc"

#endif // ADAPTIVEDIALECT_IR_ONNX_H

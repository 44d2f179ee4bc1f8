// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// C++ classes of the adaptive dialect.

#ifndef ADAPTIVEDIALECT_IR_ADAPTIVE_H
#define ADAPTIVEDIALECT_IR_ADAPTIVE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "AdaptiveDialect/IR/AdaptiveDialect.h.inc"
#include "AdaptiveDialect/IR/AdaptiveEnums.h.inc"

#include "AdaptiveDialect/IR/AdaptiveOpInterfaces.h.inc"

#define GET_ATTRDEF_CLASSES
#include "AdaptiveDialect/IR/AdaptiveAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "AdaptiveDialect/IR/AdaptiveTypes.h.inc"
#define GET_OP_CLASSES
#include "AdaptiveDialect/IR/AdaptiveOps.h.inc"

#endif // ADAPTIVEDIALECT_IR_ADAPTIVE_H

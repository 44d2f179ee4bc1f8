// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// All dialects, passes and pipelines of the tools.

#include "AdaptiveDialect/Register.h"

#include "AdaptiveDialect/Conversion/Passes.h"
#include "AdaptiveDialect/IR/Adaptive.h"
#include "AdaptiveDialect/IR/Onnx.h"
#include "AdaptiveDialect/Pipelines.h"
#include "AdaptiveDialect/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/Passes.h"

void adaptive::registerEverything(mlir::DialectRegistry &registry) {
  registry.insert<AdaptiveDialect, onnx_carrier::OnnxDialect,
                  mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::math::MathDialect, mlir::scf::SCFDialect,
                  mlir::tensor::TensorDialect, mlir::vector::VectorDialect>();
  mlir::registerTransformsPasses();
  registerAdaptiveTransformsPasses();
  registerAdaptiveConversionPasses();
  registerAdaptivePipelines();
}

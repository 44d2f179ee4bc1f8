// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-verify-function: is this module in function form, and can the
// backend compile each of its ops?
//
//   adaptive.weight @w : tensor<8x4xf32> source "m.onnx" tensor "w"
//   func.func @main(%x: tensor<?x8xf32> {ee.name = "x"})
//       -> (tensor<?x4xf32> {ee.name = "y"}) { ... linalg, tensor, arith ... }

#include "AdaptiveDialect/Conversion/CPU/Function.h"
#include "AdaptiveDialect/Conversion/Passes.h"
#include "MathFunctions.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "llvm/ADT/StringSet.h"

namespace adaptive {
#define GEN_PASS_DEF_VERIFYFUNCTION
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

static constexpr StringRef elementTypes =
    "f32, f64, f16, bf16, i1, i8, i16, i32 or i64";

/// F1: weights, tables and one function `main` with a body.
static FailureOr<func::FuncOp> checkModule(ModuleOp module) {
  func::FuncOp main;
  for (Operation &op : *module.getBody()) {
    if (isa<WeightOp, TableOp>(op))
      continue;
    auto function = dyn_cast<func::FuncOp>(op);
    if (!function || main)
      return op.emitError("function form holds weights and one func.func, but "
                          "got another '")
             << op.getName() << "'";
    main = function;
  }
  if (!main)
    return module.emitError(
        "function form holds one func.func @main, but there is none");
  if (main.getSymName() != "main" || !main.isPublic() || main.isExternal())
    return main.emitError(
               "the function must be a public @main with a body, but got @")
           << main.getSymName();
  if (!main.getBody().hasOneBlock())
    return main.emitError("@main must have one block: scf says loops and "
                          "branches");
  return main;
}

/// F2 and F3 for one argument or result; `what` names it in errors.
static LogicalResult checkValue(func::FuncOp main, Type type,
                                DictionaryAttr attributes, const Twine &what,
                                llvm::StringSet<> &names) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  auto integer =
      tensor ? dyn_cast<IntegerType>(tensor.getElementType()) : IntegerType();
  if (!tensor || tensor.getEncoding() ||
      cpu::dtypeName(tensor.getElementType()).empty() ||
      (integer && !integer.isSignless()))
    return main.emitError(what) << " must be a ranked tensor of "
                                << elementTypes << ", but got " << type;
  auto name = attributes ? attributes.getAs<StringAttr>("ee.name") : nullptr;
  if (!name || name.empty())
    return main.emitError(what)
           << " must have a name in the attribute 'ee.name'";
  if (!names.insert(name.getValue()).second)
    return main.emitError(what)
           << " has the name " << name << ", which another one has already";
  if (Attribute dims = attributes.get("ee.dims")) {
    auto list = dyn_cast<ArrayAttr>(dims);
    if (!list || int64_t(list.size()) != tensor.getRank() ||
        !llvm::all_of(list, [](Attribute a) { return isa<StringAttr>(a); }))
      return main.emitError(what)
             << ": 'ee.dims' must hold a string per dimension, but got "
             << dims;
  }
  if (Attribute dtype = attributes.get("ee.dtype")) {
    auto text = dyn_cast<StringAttr>(dtype);
    unsigned width = integer ? integer.getWidth() : 0;
    if (!text || width < 8 || text.getValue() != "u" + std::to_string(width))
      return main.emitError(what)
             << ": 'ee.dtype' says that integers are unsigned: \"u\" and the "
                "width, but got "
             << dtype << " for " << type;
  }
  return success();
}

static LogicalResult checkSignature(func::FuncOp main) {
  llvm::StringSet<> inputs, outputs;
  if (main.getNumResults() == 0)
    return main.emitError("@main must have a result: a model without outputs "
                          "computes nothing");
  for (auto [i, type] : llvm::enumerate(main.getArgumentTypes()))
    if (failed(checkValue(main, type, main.getArgAttrDict(i),
                          "argument " + Twine(i), inputs)))
      return failure();
  for (auto [i, type] : llvm::enumerate(main.getResultTypes()))
    if (failed(checkValue(main, type, main.getResultAttrDict(i),
                          "result " + Twine(i), outputs)))
      return failure();
  return success();
}

/// A type that values inside of the function may have.
static bool isValueType(Type type) {
  if (auto tensor = dyn_cast<RankedTensorType>(type)) {
    if (tensor.getEncoding())
      return false;
    type = tensor.getElementType();
  }
  if (type.isIndex())
    return true;
  if (auto integer = dyn_cast<IntegerType>(type))
    return integer.isSignless() && integer.getWidth() <= 64;
  return type.isF32() || type.isF64() || type.isF16() || type.isBF16();
}

static bool isAcceptedOp(Operation *op) {
  if (isa<func::ReturnOp, UseOp, cf::AssertOp, affine::AffineApplyOp,
          affine::AffineMinOp, affine::AffineMaxOp, ub::PoisonOp>(op))
    return true;
  if (isa<tensor::BitcastOp>(op))
    return op->getOperand(0).getDefiningOp<UseOp>() != nullptr;
  // Those of tensor and linalg that only describe layouts or need a library.
  if (isa<tensor::GatherOp, tensor::ScatterOp, linalg::PackOp, linalg::UnPackOp,
          scf::ParallelOp, scf::ForallOp, scf::ExecuteRegionOp>(op))
    return false;
  if (isa<math::MathDialect>(op->getDialect()))
    return cpu::hasExpansion(op);
  return isa<arith::ArithDialect, linalg::LinalgDialect, scf::SCFDialect,
             tensor::TensorDialect>(op->getDialect());
}

/// F4 and F5. The first offender is named, the others are counted.
static LogicalResult checkOps(func::FuncOp main) {
  SmallVector<std::pair<Operation *, std::string>> wrong;
  main.getBody().walk([&](Operation *op) {
    if (!isAcceptedOp(op)) {
      wrong.push_back({op, "cannot be compiled for the CPU"});
      return;
    }
    for (Type type :
         llvm::concat<const Type>(op->getOperandTypes(), op->getResultTypes()))
      if (!isValueType(type) && !isa<UseOp, tensor::BitcastOp>(op)) {
        std::string text;
        llvm::raw_string_ostream(text)
            << "works on '" << type << "', accepted are index and tensors of "
            << elementTypes;
        wrong.push_back({op, text});
        return;
      }
  });
  if (wrong.empty())
    return success();
  auto [op, why] = wrong.front();
  auto diagnostic = op->emitError() << "'" << op->getName() << "' " << why;
  if (wrong.size() > 1)
    diagnostic << " (and " << wrong.size() - 1 << " more ops)";
  return diagnostic;
}

namespace {
struct VerifyFunction : adaptive::impl::VerifyFunctionBase<VerifyFunction> {
  void runOnOperation() override {
    auto main = checkModule(getOperation());
    if (failed(main) || failed(checkSignature(*main)) ||
        failed(checkOps(*main)))
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};
} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the lowerings of all operators are made of: tensors whose sizes are
// known as constants or as values, and the few ways in which one is made from
// others (elementwise with broadcasting, by index, by reduction, as a view).

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_EMITTER_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_EMITTER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <optional>
#include <string>

namespace adaptive::tolinalg {

/// An index: a constant attribute or a value of type index.
using Size = mlir::OpFoldResult;
using Sizes = llvm::SmallVector<Size, 4>;

/// A tensor being lowered. Two sizes that are the same value are known to be
/// equal, so no broadcasting is needed between them.
struct Tensor {
  mlir::Value value;  ///< null while only `ints` are known; see Emitter::value
  mlir::Type element; ///< ONNX's element type: unsigned ones stay so
  Sizes sizes;
  /// Elements of an integer or bool tensor of rank 0 or 1, where they can be
  /// followed: shapes, axes, bounds.
  std::optional<Sizes> ints;
  /// The one value of all elements, where it is a constant.
  mlir::Attribute splat;

  int64_t rank() const { return sizes.size(); }
  bool isFloat() const { return llvm::isa<mlir::FloatType>(element); }
  bool isUnsigned() const { return element.isUnsignedInteger() || isBool(); }
  bool isBool() const { return element.isInteger(1); }
};

/// Signless form of an ONNX element type; null if it has none here.
mlir::Type storageType(mlir::Type element);
/// Type to compute in: f32 for narrower floats, else the storage type.
mlir::Type computeType(mlir::Type element);

std::optional<int64_t> constant(Size size);
bool same(const Size &a, const Size &b);
bool same(llvm::ArrayRef<Size> a, llvm::ArrayRef<Size> b);
bool isConstant(Size size, int64_t value);

class Emitter {
public:
  Emitter(mlir::ImplicitLocOpBuilder &b, std::string node)
      : b(b), node(std::move(node)) {}

  mlir::ImplicitLocOpBuilder &b;
  std::string node; ///< for messages, e.g. "node 'x'"

  /// Emits a one-line error that names the node; lowering may go on, but fails.
  mlir::LogicalResult error(const llvm::Twine &text);
  /// Lowering fails; the reason has been reported already.
  mlir::LogicalResult abandon() {
    hasFailed = true;
    return mlir::failure();
  }
  bool failed() const { return hasFailed; }
  /// The node can only run if `condition` holds.
  void require(mlir::Value condition, const llvm::Twine &otherwise);
  void requireEqual(Size a, Size b, const llvm::Twine &otherwise);

  // Indices.
  Size size(int64_t value) { return b.getIndexAttr(value); }
  mlir::Value index(Size size);
  Size add(Size x, Size y);
  Size sub(Size x, Size y);
  Size mul(Size x, Size y);
  Size floorDiv(Size x, Size y); ///< for y > 0
  Size ceilDiv(Size x, Size y);  ///< for y > 0
  Size min(Size x, Size y);
  Size max(Size x, Size y);
  Size product(llvm::ArrayRef<Size> sizes);
  Size select(mlir::Value condition, Size x, Size y);
  mlir::Value compare(mlir::arith::CmpIPredicate predicate, Size x, Size y);
  /// True if the index cannot be negative; false is no proof of the opposite.
  bool isNonNegative(Size x);
  /// x + (x < 0 ? size : 0).
  Size wrapNegative(Size x, Size size);
  /// Index of an element of an integer tensor.
  Size fromElement(mlir::Value scalar, mlir::Type element);
  mlir::Value toElement(Size size, mlir::Type element);
  /// All values of the tensor as indices, read at run time where they must be;
  /// nullopt, after an error that calls it `what`, when their number is
  /// unknown.
  std::optional<Sizes> elements(Tensor &tensor, llvm::StringRef what);
  std::optional<llvm::SmallVector<int64_t>> constantElements(const Tensor &t);

  // Scalars.
  mlir::Value number(mlir::Type type, double value);
  mlir::Value integer(mlir::Type type, int64_t value);
  /// Converts as ONNX's Cast; both types are ONNX element types, but the value
  /// may be in the compute type of either.
  mlir::Value convert(mlir::Value x, mlir::Type from, mlir::Type to);
  mlir::Value toCompute(mlir::Value x, mlir::Type element);
  mlir::Value fromCompute(mlir::Value x, mlir::Type element);
  mlir::Value condition(mlir::arith::CmpFPredicate predicate, mlir::Value x,
                        mlir::Value y);
  template <typename Op, typename... Args> mlir::Value op(Args &&...args) {
    return b.createOrFold<Op>(std::forward<Args>(args)...);
  }

  // Tensors.
  mlir::RankedTensorType typeOf(llvm::ArrayRef<Size> sizes, mlir::Type element);
  mlir::Value value(Tensor &tensor);
  Tensor make(mlir::Value value, mlir::Type element, Sizes sizes);
  Tensor makeInts(Sizes ints, mlir::Type element, bool scalar = false);
  Tensor fromConstant(mlir::DenseElementsAttr value);
  Tensor scalar(mlir::Type element, double value);
  mlir::Value empty(llvm::ArrayRef<Size> sizes, mlir::Type element);
  mlir::Value filled(llvm::ArrayRef<Size> sizes, mlir::Value scalar);
  Tensor fill(Sizes sizes, mlir::Type element, mlir::Value scalar);
  mlir::Value at(Tensor &tensor, llvm::ArrayRef<mlir::Value> indices);
  /// The one element of a tensor that must have one.
  mlir::Value single(Tensor &tensor, llvm::StringRef what);

  using Body = llvm::function_ref<mlir::Value(llvm::ArrayRef<mlir::Value>)>;
  /// Elementwise with numpy's broadcasting. The body gets and gives values in
  /// storage types.
  Tensor map(llvm::MutableArrayRef<Tensor> inputs, mlir::Type element,
             Body body);
  /// As `map`; body gets and gives values in compute types.
  Tensor compute(llvm::MutableArrayRef<Tensor> inputs, mlir::Type element,
                 Body body);
  /// Each element from its indices.
  Tensor generate(Sizes sizes, mlir::Type element, Body body);
  /// linalg.generic whose body yields what `body` returns.
  llvm::SmallVector<mlir::Value>
  generic(mlir::ValueRange inputs, mlir::ValueRange outputs,
          llvm::ArrayRef<mlir::AffineMap> maps,
          llvm::ArrayRef<mlir::utils::IteratorType> iterators,
          llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ValueRange)>
              body);
  using Combine = llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)>;
  /// Combines all elements along `axes`, in the compute type of `element`; the
  /// reduced axes stay as ones. `before` maps each element first.
  Tensor reduce(Tensor &x, llvm::ArrayRef<bool> axes, mlir::Type element,
                mlir::Value init, Combine combine,
                llvm::function_ref<mlir::Value(mlir::Value)> before = nullptr);

  // Shapes.
  Sizes broadcast(llvm::ArrayRef<Sizes> shapes);
  Tensor broadcastTo(Tensor &x, Sizes sizes);
  /// Views the elements in row-major order; their number must be right.
  Tensor reshape(Tensor &x, Sizes sizes);
  Tensor transpose(Tensor &x, llvm::ArrayRef<int64_t> permutation);
  Tensor slice(Tensor &x, Sizes offsets, Sizes sizes, Sizes strides = {});
  mlir::Value insert(mlir::Value source, mlir::Value into, Sizes offsets,
                     Sizes sizes, Sizes strides = {});
  Tensor cast(Tensor &x, mlir::Type element);
  mlir::Value castTo(mlir::Value value, mlir::RankedTensorType type);

  /// scf.for over [0, count) that carries values.
  llvm::SmallVector<mlir::Value>
  loop(Size count, mlir::ValueRange carried,
       llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value,
                                                         mlir::ValueRange)>
           body);

private:
  bool hasFailed = false;
  Tensor mapTyped(llvm::MutableArrayRef<Tensor> inputs, mlir::Type element,
                  Body body, bool compute);
  Tensor mapOnto(Sizes sizes, llvm::MutableArrayRef<Tensor> inputs,
                 mlir::Type element, Body body, bool compute);
  std::optional<Tensor> mapInts(llvm::MutableArrayRef<Tensor> inputs,
                                mlir::Type element, Body body);
};

} // namespace adaptive::tolinalg

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_EMITTER_H

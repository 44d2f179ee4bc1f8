// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A small language for writing kernels: values, loops, rows and weights of the
// stage ABI. Kernels are llvm.func with scf and arith inside. A wide value has
// 16 lanes; the target says what a lane is. Heavy dialect headers stay out of
// here.

#ifndef ADAPTIVEDIALECT_CONVERSION_KERNELS_BUILDER_H
#define ADAPTIVEDIALECT_CONVERSION_KERNELS_BUILDER_H

#include "AdaptiveDialect/Conversion/Kernels/Kernels.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <map>
#include <tuple>

namespace adaptive::kernels {

using mlir::Type;
using mlir::Value;
using mlir::ValueRange;
using Values = llvm::SmallVector<Value>;

/// Lanes of every wide value.
inline constexpr int64_t lanes = 16;

/// Elements of a row that are summed together; see Kernel::sumRow.
inline constexpr int64_t rowBlock = 1024;

/// Rounds up to the alignment of arena buffers.
inline int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

enum class Cmp { LT, LE, GT, GE, EQ, NE };

/// Builds one kernel. Arithmetic takes scalars or vectors; floats compare
/// ordered, integers signed unless the name says otherwise. No operation
/// carries fast-math flags, so a kernel's bits are fixed by its text.
class Kernel {
public:
  Kernel(mlir::ModuleOp module, llvm::StringRef name, const Target &target,
         mlir::Location loc);
  /// Writes expressions of scalars or vectors into any function, at the
  /// insertion point of `at`; there are neither arguments of the stage ABI nor
  /// wide values then.
  Kernel(const mlir::OpBuilder &at, mlir::Location loc);
  /// Ends the function. Call once, after the body.
  void finish();

  const Target *const target; ///< null in expressions
  mlir::OpBuilder b;
  mlir::Location loc;
  Type i1, i8, i16, i32, i64, f16, f32, ptr;
  mlir::VectorType vf32, vi32, vi1;
  mlir::VectorType vi8; ///< four in each lane

  // Set by the target.
  mlir::Operation *function = nullptr;
  mlir::Block *entry = nullptr;
  Value args;                 ///< ee_stage_args
  Value begin, end;           ///< items, i64
  Value worker;               ///< who runs these items, i64
  Value kvLayer, firstWeight; ///< as in LayerContext, i64
  /// Of targets whose lanes are threads: the thread's lane, and the mask of the
  /// threads that share its item; i32.
  Value lane, laneGroup;
  llvm::SmallVector<int64_t> offsets; ///< those of the launch

  /// The wide type with this element.
  mlir::VectorType vec(Type element);

  // Constants. `like` gives a scalar or a splat of that value's type.
  Value c64(int64_t value);
  Value c32(int32_t value);
  Value cf(float value);
  Value vcf(float value);
  Value vci(int32_t value);
  Value constant(Type type, int64_t value);
  Value constant(Type type, float value);
  Value like(Value v, float value) { return constant(v.getType(), value); }
  Value zero(Type type);
  /// Lanes below `count` are set.
  Value constMask(int64_t count);
  Value laneMask(Value count); ///< of an i64 count, any sign
  Value laneIds();             ///< <0, 1, ..., 15> of i32

  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y); ///< integers: unsigned
  Value rem(Value x, Value y); ///< unsigned
  Value add(Value x, int64_t y) { return add(x, constant(x.getType(), y)); }
  Value mul(Value x, int64_t y) { return mul(x, constant(x.getType(), y)); }
  Value fma(Value x, Value y, Value z);
  Value neg(Value x);
  Value sqrt(Value x);
  Value abs(Value x);
  Value andi(Value x, Value y);
  Value ori(Value x, Value y);
  Value xori(Value x, Value y);
  Value shl(Value x, int64_t bits);
  Value lshr(Value x, int64_t bits);
  Value ashr(Value x, int64_t bits);
  Value cmp(Cmp pred, Value x, Value y);
  Value ult(Value x, Value y);
  Value ule(Value x, Value y);
  Value ugt(Value x, Value y);
  Value uge(Value x, Value y);
  Value isNaN(Value x);
  Value select(Value mask, Value x, Value y);
  Value minS(Value x, Value y);
  Value maxS(Value x, Value y);
  Value minU(Value x, Value y);
  Value maxU(Value x, Value y);
  /// x > y ? x : y. A NaN in x is dropped.
  Value maxF(Value x, Value y) { return select(cmp(Cmp::GT, x, y), x, y); }

  Value bitcast(Value x, Type type);
  Value sitofp(Value x);
  Value fptosi32(Value x); ///< only for values known to lie in range
  Value extf(Value x);     ///< to f32
  Value truncTo(Value x, Type type);
  Value sext(Value x, Type type);
  Value zext(Value x, Type type);
  Value splat(Value scalar);
  Value extract(Value vector, int64_t lane);
  Value intrinsic(llvm::StringRef name, Type result, ValueRange operands);
  Value popcount(Value mask); ///< set lanes of a vi1, as i32

  /// Lane i with lane i + 8, then 4, 2, 1: the order is part of the profile.
  Value reduceAdd(Value v);
  Value reduceMax(Value v);
  Value reduceMaxU(Value v);

  Value at(Value base, int64_t bytes);
  Value at(Value base, Value bytes);
  Value at(Value base, Value index, int64_t scale) {
    return at(base, mul(index, scale));
  }
  /// Addresses are aligned for the element. A null mask is a plain access;
  /// lanes outside a mask read as zero and are not written.
  Value load(Type type, Value address);
  void store(Value v, Value address) { store(v, address, Value()); }
  Value load(mlir::VectorType type, Value address, Value mask);
  void store(Value v, Value address, Value mask);

  /// Asks for the cache line at an address, which need not be mapped.
  void prefetch(Value address);

  void loop(Value from, Value to, int64_t step,
            llvm::function_ref<void(Value)> body);
  Values loop(Value from, Value to, int64_t step, ValueRange init,
              llvm::function_ref<Values(Value, ValueRange)> body);
  void ifThen(Value condition, llvm::function_ref<void()> body);
  Values ifElse(Value condition, llvm::function_ref<Values()> yes,
                llvm::function_ref<Values()> no);
  /// Body over blocks of 16 of a static width: (first element, mask or null,
  /// carried).
  Values forLanes(int64_t width, ValueRange init,
                  llvm::function_ref<Values(Value, Value, ValueRange)> body);
  void forLanes(int64_t width, llvm::function_ref<void(Value, Value)> body);
  /// Sums over the elements of a row, as scalars. The order is part of the
  /// profile: blocks of rowBlock elements, each as 16 chains by lane that end
  /// in the tree of reduceAdd, are added in ascending order, so that blocks can
  /// be summed side by side. The body is that of forLanes with `count` chains.
  Values sumRow(int64_t width, size_t count,
                llvm::function_ref<Values(Value, Value, ValueRange)> body);

  /// A field of ee_stage_args, loaded once at the entry.
  Value field(size_t offset, Type type);
  Value rowCount();      ///< *n_active as i64
  Value slot(Value row); ///< slot of a row of the launch, i64
  Value column(size_t offset, Value row,
               Type type = {}); ///< entry of a column (i32)
  /// A number that differs between places where an op is used: a constant of
  /// the code or a parameter of the launch.
  Value offset(int64_t value);
  /// RowBuffer with its numbers as values.
  struct Place {
    Value perRow, offset, stride;
  };
  const Place &place(const RowBuffer &buffer);
  Value address(const RowBuffer &buffer, Value row);
  Value weight(const WeightRef &weight);
  Value workerScratch();
  Value record(size_t arrayOffset, Value index, int64_t size);

private:
  /// forLanes over [from, to); `from` is a multiple of the lanes.
  Values forRange(int64_t from, int64_t to, ValueRange init,
                  llvm::function_ref<Values(Value, Value, ValueRange)> body);
  void makeTypes();
  template <typename Fn> Value atEntry(Fn fn);

  mlir::Operation *lastAtEntry = nullptr;
  llvm::DenseMap<std::pair<size_t, Type>, Value> fields;
  llvm::DenseMap<std::pair<int64_t, int64_t>, Value> weights;
  std::map<std::tuple<int, int64_t, int64_t, int64_t>, Place> places;
  Value count, scratchBase;
};

/// The type of `element` in the shape of a scalar or vector type.
Type shapedLike(Type shape, Type element);
/// Bytes of a scalar, or of an element of a vector.
unsigned elementBytes(Type type);

/// Width of rows `tensor<?xD>` or `tensor<?>` (1).
int64_t widthOf(Type type);
/// True for a value that comes from a weight, not from rows.
bool isStatic(Type type);

// Elementary functions on f32 scalars or vectors. Errors against the true
// value, measured over all of the range in unittests/kernels.
Value emitExp(Kernel &k,
              Value x); ///< <= 1.1 ulp; 0 below -104, inf above 88.73
Value emitLog(Kernel &k, Value x);   ///< <= 1.1 ulp, subnormals included
Value emitTanh(Kernel &k, Value x);  ///< <= 2 ulp
Value emitErf(Kernel &k, Value x);   ///< <= 2 ulp
Value emitLog1p(Kernel &k, Value x); ///< x >= 0, <= 3 ulp

/// Emits the region's arith and math ops on 16-lane values. Fails with a
/// diagnostic at an op that has no vector form here.
mlir::FailureOr<Value> emitRegion(Kernel &k, mlir::Region &region,
                                  ValueRange arguments);

} // namespace adaptive::kernels

#endif // ADAPTIVEDIALECT_CONVERSION_KERNELS_BUILDER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The decomposition of a case as a function, its arguments, and what its
// results mean. Shared by those who run decompositions.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_DECOMPOSITION_H
#define ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_DECOMPOSITION_H

#include "Cases.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <memory>

namespace conformance {

/// A dense tensor, row-major.
struct Tensor {
  void *data = nullptr;
  std::vector<int64_t> sizes;
  int64_t elements() const;
};

/// @main without ops of the dialect.
class Decomposition {
public:
  explicit Decomposition(const OpCase &op);

  /// The outputs that `results` of a call are.
  Outputs outputs(const std::vector<Tensor> &results) const;

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// `adaptive.column` of the arguments and results that the pass added; they
  /// come last.
  std::vector<std::string> columns, changed;
  std::vector<mlir::RankedTensorType> types; ///< of all results
};

/// The arguments of a call. The code may write into what it is given, so it is
/// given copies, which live as long as this.
class Arguments {
public:
  Arguments(const OpCase &op, const Inputs &inputs,
            const std::vector<std::string> &columns);
  bool owns(const void *pointer) const;

  std::vector<Tensor> list;

private:
  template <typename T>
  void add(const std::vector<T> &values, const std::vector<int64_t> &sizes);
  void parameter(const Parameter &p, const Inputs &inputs, size_t i);

  std::vector<std::unique_ptr<char[]>> buffers;
};

/// Ends the test program: something is wrong with the test itself.
[[noreturn]] void die(const std::string &what);

} // namespace conformance

#endif // ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_DECOMPOSITION_H

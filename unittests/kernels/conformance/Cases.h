// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The conformance test of kernels as data: ops by shapes, the numbers they are
// given, and how far a backend may be from the oracle. A backend runs them all.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_CASES_H
#define ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_CASES_H

#include "AdaptiveDialect/Conversion/Kernels/Packing.h"
#include "ee/abi.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace conformance {

using adaptive::kernels::Format;

/// A parameter of a case: %a, %b, ... in the order of the list.
struct Parameter {
  enum Kind { Rows, Scalars, Ids, Mask, Weight, KV } kind = Rows;
  /// Rows: width. Ids: vocabulary. Weight: shape. KV: heads, head dimension.
  std::vector<int64_t> shape;
  Format format = Format::Plain; ///< of a matrix
  std::string type() const;
};

/// A result: elements per row (0: one scalar), or none.
struct Result {
  enum Kind { Rows, Scalars, Ids, Mask } kind = Rows;
  int64_t width = 1;
  std::string type() const;
};

struct OpCase {
  std::string op;   ///< without the dialect: "norm"
  std::string name; ///< what messages call it
  std::vector<Parameter> parameters;
  /// The op under test, which makes %r0, %r1, ...
  std::string text;
  std::vector<Result> results;
  /// What the op changes besides: "depth", "kv".
  std::vector<std::string> effects;
  /// A backend may be off by `absolute + relative * m`, m the largest
  /// magnitude of the row; integers must be equal.
  double absolute = 0, relative = 0;
};

/// The table.
const std::vector<OpCase> &cases();

/// Ops of the dialect that no backend has a kernel for, each with the reason.
const std::map<std::string, std::string> &opsWithoutKernel();

/// What the op is given. Values of parameter i are in `floats` or `ints`; those
/// of KV are [sequence][position][heads * dim] in `keys` and `values`.
struct Inputs {
  int64_t rows = 0;
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<int32_t>> ints;
  std::map<std::string, std::vector<int32_t>> columns; ///< by row
  std::vector<ee_policy> policies;
  static constexpr int64_t sequences = 3, positions = 70;
  std::vector<float> keys, values;
};

/// What came out: per result rows * width elements; then the effects.
struct Outputs {
  std::vector<std::vector<double>> results;
  std::vector<int32_t> depth;
  std::vector<float> keys, values;
};

/// Reproducible inputs of `rows` rows.
Inputs makeInputs(const OpCase &op, int64_t rows, uint32_t seed);

/// Anything that runs cases.
class Backend {
public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;
  /// Replaces weights by what the formats of the backend make of them.
  virtual void settle(const OpCase &, Inputs &) {}
  virtual Outputs run(const OpCase &op, const Inputs &inputs) = 0;
};

} // namespace conformance

#endif // ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_CASES_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs artifacts of kind function: dense tensors in, dense tensors out.
#ifndef EE_FUNCTION_H
#define EE_FUNCTION_H

#include "ee/artifact.h"
#include "ee/result.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ee {

/// An input: row-major, little-endian, a bool in a byte.
struct TensorView {
  const void *data = nullptr; ///< aligned to its element
  std::string dtype;          ///< as the manifest names it
  std::vector<int64_t> shape;
};

/// A result, which owns its memory.
struct TensorResult {
  struct Free {
    void operator()(uint8_t *data) const { std::free(data); }
  };
  std::string dtype;
  std::vector<int64_t> shape;
  std::unique_ptr<uint8_t, Free> data;

  int64_t bytes() const; ///< of all elements
};

struct FunctionOptions {
  /// Most bytes that results and temporaries may take at any time; 0 is the
  /// memory of the machine.
  uint64_t maxBytes = 0;
};

/// Bytes of an element of a function's tensors, or nothing for a name that is
/// no dtype.
std::optional<int64_t> dtypeBytes(std::string_view dtype);

/// The shape as people write it: `[2, n, ?]`.
std::string shapeText(const FunctionTensor &tensor);
std::string shapeText(std::span<const int64_t> shape);

/// Checks `inputs` (in the order of the manifest) against the manifest: dtype,
/// rank, static dimensions, dynamic dimensions of equal name, bools of 0 and 1.
/// The error names the input and what would be accepted.
Expected<void> checkInputs(const Manifest &manifest,
                           std::span<const TensorView> inputs);

/// Runs a loaded function. Errors: those of checkInputs, the message of an
/// assertion in the model that failed, or a lack of memory.
Expected<std::vector<TensorResult>>
runFunction(const Artifact &artifact, std::span<const TensorView> inputs,
            const FunctionOptions &options = {});

} // namespace ee

#endif // EE_FUNCTION_H

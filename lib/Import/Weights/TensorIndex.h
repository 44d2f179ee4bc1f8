// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds every tensor of a serialised ONNX model (initialisers, attributes,
// sparse parts, subgraphs, functions) and can write the model again with some
// of the tensors left out. ONNX's own library then sees a small model, while
// the weights stay where they are: in the mapped file.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_TENSORINDEX_H
#define ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_TENSORINDEX_H

#include "Wire.h"

#include "ee/result.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <string>
#include <string_view>
#include <vector>

namespace adaptive {

/// Where a tensor's data stands. Views point into the scanned bytes.
struct TensorEntry {
  /// Name under which the tensor is found again: the initialiser's name, or for
  /// an attribute `<first output of the node>#<attribute>`, prefixed by
  /// `<scope>/` in subgraphs and functions. Unique in the file.
  std::string key;
  std::string name; ///< the TensorProto's own name, may be empty
  /// For messages: "initializer 'w'", "node 'n': attribute 'value'".
  std::string where;
  int32_t dataType = 0;
  std::vector<int64_t> dims;
  /// An initialiser, or the value of a Constant node: stands for itself, so
  /// that it can be detached. Other attributes belong to their operator.
  bool isValue = false;
  bool inFunction = false;
  bool sparsePart = false; ///< values or indices of a SparseTensorProto

  bool hasRaw = false;
  std::string_view raw;
  std::vector<wire::Field> typed; ///< chunks of float_data, int32_data, ...
  bool external = false;
  std::vector<std::pair<std::string, std::string>> externalData;
};

/// What to do with a tensor when the model is written again.
struct TensorRewrite {
  enum Kind {
    Keep,   ///< copy the message as it is
    Detach, ///< keep name, type and shape; mark it with its key instead of data
    Inline, ///< keep name, type and shape; store `data` as raw data
  } kind = Keep;
  std::string_view data;
};

/// Prefix of the doc string that marks a detached tensor; the key follows.
inline constexpr std::string_view kDetachedMark = "adaptive.detached:";

using TensorCallback =
    llvm::function_ref<ee::Expected<TensorRewrite>(TensorEntry &)>;

/// Calls `callback` for each tensor of the model in `bytes`, in file order, and
/// if `slim` is given stores the model there with the callback's changes (and
/// without training info). Fails on malformed bytes and when `callback` does.
ee::Expected<void> scanModel(std::string_view bytes, TensorCallback callback,
                             std::string *slim);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_TENSORINDEX_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Gives the bytes of trained tensors by (source file, tensor name), as
// `adaptive.weight` names them. Nothing is copied where the file holds plain
// little-endian data: the file is mapped. Sources are ONNX files (with their
// external data files) and safetensors files.

#ifndef ADAPTIVEDIALECT_IMPORT_WEIGHTSTORE_H
#define ADAPTIVEDIALECT_IMPORT_WEIGHTSTORE_H

#include "ee/result.h"

#include "mlir/IR/Types.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace adaptive {

class WeightOp;
struct TensorEntry;
struct TensorRewrite;

/// A stored tensor. `data` is row-major, little-endian, without padding (types
/// below 8 bits are packed, low bits first); it lives as long as the store.
struct WeightView {
  int32_t onnxType = 0; ///< TensorProto.DataType
  llvm::ArrayRef<int64_t> shape;
  llvm::ArrayRef<char> data;
};

class WeightStore {
public:
  /// `directory`: what the `source` of a weight is relative to: the folder of
  /// the ONNX file, or of the .mlir file that was written beside it.
  explicit WeightStore(std::string directory);
  ~WeightStore();
  WeightStore(WeightStore &&) noexcept;
  WeightStore &operator=(WeightStore &&) noexcept;

  /// Files named `<root>:<name>` are looked up below `folder` instead: exit
  /// specs bring tensors from elsewhere.
  void addRoot(llvm::StringRef root, std::string folder);

  /// The tensor `tensor` of file `source`; the file is opened on first use,
  /// below the directory and never outside of it. Errors are one line that
  /// names both.
  ee::Expected<WeightView> find(llvm::StringRef source, llvm::StringRef tensor);

  /// The stored tensor of a weight (not yet transposed when `op` says so). Its
  /// type must be the weight's, and its hash too if the op has one.
  ee::Expected<WeightView> get(WeightOp op);

  /// Hash of a tensor's bytes as `adaptive.weight` carries it: `xxh3:` and 32
  /// hexadecimal digits of XXH3-128. It finds equal contents and stale files;
  /// it does not protect against somebody who wants a collision.
  static std::string hash(llvm::ArrayRef<char> data);

  /// Decides what becomes of a tensor in the slim copy; `bytes` is its raw
  /// size.
  using Policy =
      std::function<TensorRewrite(const TensorEntry &, uint64_t bytes)>;

  /// Opens the ONNX file at `path` (given by the user: may lie anywhere),
  /// checks all of its tensors, and stores its model without weights in `slim`.
  /// Later `find` knows the file by its name without folder. For the importer.
  ee::Expected<void> openModel(const std::string &path, const Policy &policy,
                               std::string &slim);

private:
  struct Source;
  struct State;
  std::unique_ptr<State> state;
};

} // namespace adaptive

#endif // ADAPTIVEDIALECT_IMPORT_WEIGHTSTORE_H

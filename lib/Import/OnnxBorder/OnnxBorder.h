// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The border to ONNX's C++ library. That library throws, LLVM code is built
// without exceptions: every call into it is behind this header, which speaks
// plain structs and reports errors as text. Built as a plain CMake target.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_ONNXBORDER_H
#define ADAPTIVEDIALECT_LIB_IMPORT_ONNXBORDER_H

#include "ee/result.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onnx_border {

struct Dim {
  int64_t value = -1; ///< -1 when not known
  std::string name;   ///< dim_param, may be an expression; empty when unnamed
};

/// Type of a value. `elementType` is a TensorProto.DataType, 0 when not known.
struct TypeInfo {
  int32_t elementType = 0;
  bool hasShape = false;
  std::vector<Dim> dims;
  std::string notTensor; ///< "sequence", "optional", ... for what is no tensor
};

struct Value {
  std::string name; ///< empty: an absent optional value
  TypeInfo type;
};

/// A tensor of the slim model: data or the key of a detached tensor.
struct Tensor {
  std::string name;
  int32_t elementType = 0;
  std::vector<int64_t> dims;
  std::string raw; ///< row-major, little-endian, as in raw_data
  std::string detachedKey;
};

struct Graph;

struct Attribute {
  enum Kind {
    Float,
    Int,
    String,
    TensorValue,
    GraphValue,
    Floats,
    Ints,
    Strings,
    Other
  };
  std::string name;
  Kind kind = Other;
  float f = 0;
  int64_t i = 0;
  std::string s;
  Tensor tensor;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::vector<Graph> graphs; ///< one for `GraphValue`
  std::string otherKind;     ///< for messages: "TYPE_PROTO", ...
};

struct Node {
  std::string name, opType, domain;
  int64_t opset = 0;
  std::vector<std::string> inputs; ///< "" where an optional input is absent
  std::vector<Value> outputs;
  std::vector<Attribute> attributes;
  std::vector<std::pair<std::string, std::string>> metadata;
  int function = -1; ///< index in Model::functions of what it calls
};

struct Graph {
  std::string name;
  std::vector<Value> inputs;  ///< without initialisers
  std::vector<Value> outputs; ///< the names may be those of an outer graph
  std::vector<Tensor> initializers;
  std::vector<Node> nodes;
};

/// A local function for one signature: input types and attribute values are
/// those of the calls; calls of equal signature share one.
struct Function {
  std::string domain, name, overload;
  Graph body;
};

struct Model {
  int64_t irVersion = 0;
  int64_t opset = 0;       ///< of the default domain, after conversion
  int64_t opsetInFile = 0; ///< of the default domain, in the file
  std::string producer;
  std::vector<std::pair<std::string, std::string>> metadata;
  Graph graph;
  std::vector<Function> functions;
  std::vector<std::string>
      notes; ///< what a user may want to know, one line each
};

/// Says whether calls of (domain, op type) are replaced by their body.
using FunctionSet =
    std::function<bool(const std::string &domain, const std::string &opType)>;

struct Options {
  /// The opset to which files of older opsets are converted.
  int64_t targetOpset = 23;
  FunctionSet inlineLocal; ///< model-local functions; empty: none
  FunctionSet
      expandSchema; ///< operators that ONNX defines by a body; empty: none
};

/// Parses `bytes`, checks the model, converts its opset, infers shapes and
/// reads it out. Detached tensors carry `kDetachedMark` and a key as their doc
/// string. The error is one line that names the node where ONNX's library does.
ee::Expected<Model> loadModel(std::string_view bytes,
                              std::string_view detachedMark,
                              const Options &options);

/// Where the data of a detached tensor goes: into the model (`raw`, which must
/// outlive the call), or to another file when `location` is not empty.
struct TensorPlace {
  std::string_view raw;
  std::string location;
  uint64_t offset = 0, bytes = 0;
};
using TensorPlacer = std::function<TensorPlace(const std::string &key)>;

/// Parses `bytes`, replaces calls of model-local functions by their bodies and
/// gives the serialised result, in which detached tensors have the data that
/// `placer` says. Refuses what is no operator of ONNX then.
ee::Expected<std::string> plainModel(std::string_view bytes,
                                     std::string_view detachedMark,
                                     const TensorPlacer &placer);

} // namespace onnx_border

#endif // ADAPTIVEDIALECT_LIB_IMPORT_ONNXBORDER_H

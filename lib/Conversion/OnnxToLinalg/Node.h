// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One ONNX node being lowered, and the table of operators with a lowering.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_NODE_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_NODE_H

#include "../OnnxToAdaptive/Nodes.h"
#include "Emitter.h"

#include "llvm/ADT/StringMap.h"

namespace adaptive::tolinalg {

using raising::NodeOp;

class Lowerer;

class Node : public Emitter {
public:
  Node(mlir::ImplicitLocOpBuilder &b, std::string name, NodeOp carrier,
       Lowerer &lowerer);

  NodeOp carrier;
  Lowerer &lowerer;
  llvm::SmallVector<Tensor> inputs; ///< element null where absent
  llvm::SmallVector<std::optional<Tensor>> results;

  bool has(unsigned i) const { return i < inputs.size() && inputs[i].element; }
  Tensor &in(unsigned i) { return inputs[i]; }
  /// True if result `i` has a name, so that somebody may use it.
  bool wants(unsigned i) { return i < results.size() && isNamed(i); }
  void out(unsigned i, Tensor tensor) {
    if (i < results.size())
      results[i] = std::move(tensor);
  }
  mlir::LogicalResult done(Tensor tensor) {
    out(0, std::move(tensor));
    return mlir::success(!failed());
  }

  int64_t opset() { return carrier.getOpset(); }
  int64_t intAttr(llvm::StringRef name, int64_t absent) {
    return raising::intAttr(carrier, name, absent);
  }
  double floatAttr(llvm::StringRef name, double absent) {
    return raising::floatAttr(carrier, name, absent);
  }
  llvm::StringRef stringAttr(llvm::StringRef name,
                             llvm::StringRef absent = "") {
    llvm::StringRef value = raising::stringAttr(carrier, name);
    return value.empty() ? absent : value;
  }
  std::optional<llvm::SmallVector<int64_t>> intsAttr(llvm::StringRef name) {
    return raising::findInts(carrier, name);
  }
  /// `axis` counted from the front; nullopt, after an error, when it lies
  /// outside of [-rank, rank).
  std::optional<int64_t> axis(int64_t axis, int64_t rank);
  /// The integers of operand `i`, or of the attribute where older opsets have
  /// one; outer nullopt after an error (not a constant), inner when absent.
  std::optional<std::optional<llvm::SmallVector<int64_t>>>
  constantInts(unsigned i, llvm::StringRef name);
  /// ONNX element type for a TensorProto.DataType; null after an error.
  mlir::Type elementType(int64_t dataType);

private:
  bool isNamed(unsigned i);
};

using LowerFunction = mlir::LogicalResult (*)(Node &);

struct Operator {
  llvm::StringRef family;
  unsigned inputs; ///< at least
  LowerFunction lower;
  llvm::StringRef note;
};

/// Operators of the default domain by name.
class Registry {
public:
  static const Registry &get();
  const Operator *find(llvm::StringRef domain, llvm::StringRef name) const;
  const llvm::StringMap<Operator> &all() const { return operators; }

  llvm::StringRef family; ///< of the operators that are being added
  void add(llvm::StringRef name, unsigned inputs, LowerFunction lower,
           llvm::StringRef note = "") {
    operators[name] = {family, inputs, lower, note};
  }

private:
  llvm::StringMap<Operator> operators;
};

/// Lowers the nodes of a function and of the subgraphs in it.
class Lowerer {
public:
  virtual ~Lowerer() = default;
  /// Lowers the nodes of a subgraph at the insertion point; its results, or
  /// nullopt after an error. What became known inside is forgotten.
  virtual std::optional<llvm::SmallVector<Tensor>>
  subgraph(mlir::Region &region, llvm::ArrayRef<Tensor> arguments) = 0;
};

void addElementwise(Registry &registry);
void addActivations(Registry &registry);
void addMatMul(Registry &registry);
void addReduce(Registry &registry);
void addOrder(Registry &registry);
void addNorm(Registry &registry);
void addShape(Registry &registry);
void addSlices(Registry &registry);
void addIndexing(Registry &registry);
void addScatter(Registry &registry);
void addConv(Registry &registry);
void addControl(Registry &registry);
void addQuantize(Registry &registry);

} // namespace adaptive::tolinalg

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_NODE_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds the carrier module from a model that the ONNX border has read.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_MODULEBUILDER_H
#define ADAPTIVEDIALECT_LIB_IMPORT_MODULEBUILDER_H

#include "Constants.h"
#include "OnnxBorder.h"

#include "AdaptiveDialect/Import/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"

namespace adaptive {

class ModuleBuilder {
public:
  ModuleBuilder(llvm::StringRef path, mlir::MLIRContext *context,
                WeightStore &store);

  /// Null when errors were emitted.
  mlir::OwningOpRef<mlir::ModuleOp> build(const onnx_border::Model &model);

private:
  /// Values by ONNX name; subgraphs see those around them.
  struct Names {
    const Names *outer = nullptr;
    llvm::StringMap<mlir::Value> values;
    mlir::Value find(llvm::StringRef name) const;
  };

  mlir::func::FuncOp function(const onnx_border::Graph &graph,
                              llvm::StringRef name, bool isMain);
  void graphBody(const onnx_border::Graph &graph, Names &names,
                 mlir::Block &block);
  void node(const onnx_border::Node &node, Names &names);
  bool constantNode(const onnx_border::Node &node, Names &names);
  mlir::Value operand(const std::string &name, const std::string &user,
                      const Names &names);
  void define(Names &names, const std::string &name, mlir::Value value);

  mlir::Attribute attribute(const onnx_border::Attribute &attribute);
  mlir::Type type(const onnx_border::TypeInfo &info);
  mlir::ArrayAttr dimNames(const onnx_border::TypeInfo &info);
  mlir::ArrayAttr strings(const std::vector<std::string> &values);
  mlir::DictionaryAttr
  dictionary(const std::vector<std::pair<std::string, std::string>> &entries);
  mlir::Location location(llvm::StringRef name);
  void error(const llvm::Twine &text);

  std::string path;
  mlir::MLIRContext *context;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  Constants constants;
  std::vector<mlir::func::FuncOp> functions; ///< by index of Model::functions
  bool failed = false;
};

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_MODULEBUILDER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The carrier dialect: one generic op per ONNX node. It knows no operator; all
// knowledge sits in the patterns that take it away.

#ifndef ONNX_CARRIER_TD
#define ONNX_CARRIER_TD

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Onnx_Dialect : Dialect {
  let name = "onnx";
  let summary = "ONNX nodes as they stand in the file";
  let description = [{
    The importer turns every node of an ONNX graph into one `onnx.node`, located
    at the node's name. No carrier op is left once a model has passed
    `adaptive-verify-contract`.
  }];
  let cppNamespace = "::onnx_carrier";
}

class Onnx_Op<string mnemonic, list<Trait> traits = []> : Op<Onnx_Dialect, mnemonic, traits>;

def Onnx_Value : AnyTypeOf<[AnyTensor, NoneType]>;

def Onnx_NodeOp : Onnx_Op<"node"> {
  let summary = "one node of an ONNX graph";
  let description = [{
    Operator `op_type` of `domain` in version `opset` of that domain. An absent
    optional input is a value of `onnx.none`. Subgraphs are regions, named in
    order by `graphs`.

    C1: the version is positive. C2: `graphs` names as many regions as there are.
    ```mlir
    %y = onnx.node "Softmax" version 23 (%x) {onnx_attrs = {axis = -1 : i64}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins StrAttr:$op_type, OptionalAttr<StrAttr>:$domain, I64Attr:$opset,
                       OptionalAttr<DictionaryAttr>:$onnx_attrs,
                       OptionalAttr<StrArrayAttr>:$graphs, Variadic<Onnx_Value>:$inputs);
  let results = (outs Variadic<Onnx_Value>:$outputs);
  let regions = (region VariadicRegion<AnyRegion>:$subgraphs);
  let assemblyFormat = [{
    $op_type (`domain` $domain^)? `version` $opset `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) $subgraphs
  }];
  let extraClassDeclaration = [{
    /// True for an op of the default ONNX domain with this name.
    bool is(::llvm::StringRef name) {
      return getOpType() == name && getDomainName().empty();
    }
    ::llvm::StringRef getDomainName() { return getDomain().value_or(""); }
    /// The ONNX attribute of that name, or null.
    ::mlir::Attribute getOnnxAttr(::llvm::StringRef name) {
      return getOnnxAttrs() ? getOnnxAttrs()->get(name) : ::mlir::Attribute();
    }
  }];
  let hasVerifier = 1;
}

def Onnx_ConstantOp : Onnx_Op<"constant", [Pure, ConstantLike]> {
  let summary = "a small constant tensor";
  let description = [{
    Initialisers and Constant nodes that are no trained weights: shapes, axes,
    scalars.

    C1: the result has the type of the value.
    ```mlir
    %axes = onnx.constant dense<[0, 1]> : tensor<2xi64> : tensor<2xi64>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyTensor:$output);
  let assemblyFormat = "$value attr-dict `:` type($output)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Onnx_NoneOp : Onnx_Op<"none", [Pure]> {
  let summary = "an optional input that is absent";
  let description = [{
    ```mlir
    %absent = onnx.none
    ```
  }];
  let results = (outs NoneType:$output);
  let assemblyFormat = "attr-dict";
}

def Onnx_ReturnOp : Onnx_Op<"return", [Pure, Terminator, ReturnLike]> {
  let summary = "ends a graph or subgraph";
  let description = [{
    ```mlir
    %y = onnx.node "If" version 23 (%c) {graphs = ["then_branch"]} : (tensor<i1>) -> tensor<4xf32> {
      onnx.return %x : tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<Onnx_Value>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif

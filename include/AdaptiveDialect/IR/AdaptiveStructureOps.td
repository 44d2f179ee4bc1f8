// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Structure: a model, its weights, its repeated blocks.

#ifndef ADAPTIVE_STRUCTURE_OPS_TD
#define ADAPTIVE_STRUCTURE_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveTypes.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Adaptive_StructureDocGroup : OpDocGroup {
  let summary = "Structure";
  let description = "A model, its weights, its repeated blocks.";
}

let opDocGroup = Adaptive_StructureDocGroup in {

def Adaptive_WeightOp : Adaptive_Op<"weight", [Symbol]> {
  let summary = "names a trained tensor that stays outside the IR";
  let description = [{
    The bytes are those of tensor `tensor` in file `source` (an ONNX file, or a
    safetensors file of an exit spec). With `transposed` the stored matrix is the
    transpose of this weight, so the type of the stored tensor has its two
    dimensions swapped. `table` weights are computed at compile time instead.

    C1: the type is static and has at least one dimension.
    C2: `transposed` needs rank 2.

    ```mlir
    adaptive.weight @w0 : tensor<8x4xf32> source "m.onnx" tensor "q.weight" transposed
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<Adaptive_WeightTensor>:$type,
                       StrAttr:$source, StrAttr:$tensor, UnitAttr:$transposed,
                       OptionalAttr<StrAttr>:$hash);
  let assemblyFormat = [{
    $sym_name `:` $type `source` $source `tensor` $tensor
    (`transposed` $transposed^)? (`hash` $hash^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Adaptive_TableOp : Adaptive_Op<"table", [Symbol]> {
  let summary = "names a rotary table that is computed at compile time";
  let description = [{
    Row p holds cos (or sin) of `p * frequencies[i]`, computed in f64 and rounded
    once; the rows are the positions 0 to the first dimension of the type.

    C1: the type is [positions, frequencies].
    ```mlir
    adaptive.table @cos cos [1.0, 0.01] : tensor<128x2xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$function,
                       F64ArrayAttr:$frequencies, TypeAttrOf<Adaptive_WeightTensor>:$type);
  let assemblyFormat = "$sym_name $function $frequencies `:` $type attr-dict";
  let hasVerifier = 1;
}

def Adaptive_UseOp : Adaptive_Op<"use", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a weight";
  let description = [{
    C1: the symbol is a weight or a table of the same type.
    ```mlir
    %w = adaptive.use @w0 : tensor<8x4xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs Adaptive_WeightTensor:$result);
  let assemblyFormat = "$weight attr-dict `:` type($result)";
}

def Adaptive_ModelOp : Adaptive_Op<"model", [IsolatedFromAbove, Symbol, SingleBlock]> {
  let summary = "a decoder as a function of its rows";
  let description = [{
    The region takes the token ids of the rows and yields their logits. Sequence
    and position of a row are implicit: rows carry them, ops that need them
    (`rope`, `kv_append`, `attend`) read them.

    C1: one argument `tensor<?xi32>`; the terminator yields one `tensor<?xVxf32>`
    (or, once sampling is part of the model, `tensor<?xi32>`).
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$max_position,
                       OptionalAttr<DictionaryAttr>:$facts);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `max_position` $max_position (`facts` $facts^)? attr-dict-with-keyword $body
  }];
  let hasRegionVerifier = 1;
}

def Adaptive_BlockOp : Adaptive_Op<"block", [IsolatedFromAbove, Symbol, SingleBlock]> {
  let summary = "a body that layers share";
  let description = [{
    The first argument is the residual stream `tensor<?xDxf32>`, the others are
    weights. The terminator yields the new residual stream.

    C1: the first argument and the yielded value have the same type
    `tensor<?xDxf32>`. C2: exactly one `kv_append` at most per `!adaptive.kv` use
    chain. C3: weight arguments are static tensors.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Adaptive_LayersOp : Adaptive_Op<"layers", [AllTypesMatch<["input", "result"]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a block once per set of weights";
  let description = [{
    Layer i applies the block with `weights[i]`; its unrolled index is
    `first + i`, which is also the KV layer it appends to and reads.

    C1: the callee is a block. C2: every entry of `weights` lists as many weights
    as the block takes, of the same types. C3: operand, result and the block's
    residual stream agree in type.
    C4: with `kv_only`, only the KV entries of the layers are appended, all from
    the operand itself, and the result is the operand (state propagation).
    ```mlir
    %h1 = adaptive.layers @block(%h0) first 0 weights [[@a, @b], [@c, @d]] : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Adaptive_Rows:$input,
                       I64Attr:$first, ArrayAttr:$weights, UnitAttr:$kv_only);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $callee `(` $input `)` `first` $first (`kv_only` $kv_only^)? `weights` $weights attr-dict `:` type($result)
  }];
  let extraClassDeclaration = [{
    /// Number of layers this op runs.
    int64_t getNumLayers() { return getWeights().size(); }
  }];
}

def Adaptive_RecurseOp : Adaptive_Op<"recurse", [AllTypesMatch<["input", "result"]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs the same layers several times with the same weights";
  let description = [{
    One application runs the block once per entry of `weights` (the layers of the
    shared body); `times` applications follow each other. Unrolled index of layer
    i of application r is `first + r * size(weights) + i`, each with KV of its own.

    C1 to C3 as for `layers`. C4: `times` is at least 2.
    ```mlir
    %h1 = adaptive.recurse @block(%h0) times 3 first 0 weights [[@a, @b]] : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Adaptive_Rows:$input,
                       I64Attr:$times, I64Attr:$first, ArrayAttr:$weights);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $callee `(` $input `)` `times` $times `first` $first `weights` $weights attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Adaptive_YieldOp : Adaptive_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "ends a region of this dialect";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

} // opDocGroup

#endif

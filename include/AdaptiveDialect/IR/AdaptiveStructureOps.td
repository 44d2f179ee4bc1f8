// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Structure: a model, its weights, its repeated blocks.

#ifndef ADAPTIVE_STRUCTURE_OPS_TD
#define ADAPTIVE_STRUCTURE_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveAttrs.td"
include "AdaptiveDialect/IR/AdaptiveInterfaces.td"
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

def Adaptive_WeightOp : Adaptive_Op<"weight", [Symbol, Adaptive_WeightOpInterface]> {
  let summary = "names a trained tensor that stays outside the IR";
  let description = [{
    The bytes are those of tensor `tensor` in file `source` (an ONNX file, or a
    safetensors file of an exit spec). With `transposed` the stored matrix is the
    transpose of this weight, so the type of the stored tensor has its two
    dimensions swapped. A small tensor may be given as `value` instead; then `source`
    and `tensor` are empty. `table` weights are computed at compile time instead.
    `format` is what the artifact stores, once it is chosen: `plain` keeps the order
    of the tensor, the others are formats of matrices.

    C1: the type is static and has at least one dimension.
    C2: `transposed` needs rank 2.
    C3: a `value` has the weight's type and stands alone. C4: a `format` other than
    `plain` needs rank 2.

    ```mlir
    adaptive.weight @w0 : tensor<8x4xf32> source "m.onnx" tensor "q.weight" transposed format q4
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<Adaptive_WeightTensor>:$type,
                       StrAttr:$source, StrAttr:$tensor, UnitAttr:$transposed,
                       OptionalAttr<StrAttr>:$hash, OptionalAttr<ElementsAttr>:$value,
                       OptionalAttr<Adaptive_WeightFormatAttr>:$format);
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$sym_name, "::mlir::RankedTensorType":$type,
                   "::llvm::StringRef":$source, "::llvm::StringRef":$tensor,
                   "bool":$transposed, "::mlir::StringAttr":$hash), [{
      build($_builder, $_state, sym_name, type, source, tensor, transposed, hash,
            ::mlir::ElementsAttr());
    }]>,
    OpBuilder<(ins "::llvm::StringRef":$sym_name, "::mlir::RankedTensorType":$type,
                   "::llvm::StringRef":$source, "::llvm::StringRef":$tensor,
                   "bool":$transposed, "::mlir::StringAttr":$hash,
                   "::mlir::ElementsAttr":$value), [{
      build($_builder, $_state, sym_name, type, source, tensor, transposed, hash,
            value, ::adaptive::WeightFormatAttr());
    }]>];
  let assemblyFormat = [{
    $sym_name `:` $type `source` $source `tensor` $tensor
    (`transposed` $transposed^)? (`hash` $hash^)? (`value` $value^)?
    (`format` custom<Keyword>($format)^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Adaptive_TableOp : Adaptive_Op<"table", [Symbol, Adaptive_WeightOpInterface]> {
  let summary = "names a rotary table that is computed at compile time";
  let description = [{
    Row p holds cos (or sin) of `p * frequencies[i]`, computed in f64 and rounded
    once; the rows are the positions 0 to the first dimension of the type.

    C1: the type is [positions, frequencies]. C2: the function is cos or sin.
    ```mlir
    adaptive.table @cos "cos" [1.0, 0.01] : tensor<128x2xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$function,
                       F64ArrayAttr:$frequencies, TypeAttrOf<Adaptive_WeightTensor>:$type);
  let assemblyFormat = "$sym_name $function $frequencies `:` $type attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Tables are plain: kernels read rows of them.
    ::adaptive::WeightFormat getFormat() { return ::adaptive::WeightFormat::Plain; }
  }];
}

def Adaptive_UseOp : Adaptive_Op<"use", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the value of a weight";
  let description = [{
    C1: the symbol is a weight or a table. C2: it has the type of the result.
    ```mlir
    adaptive.weight @w0 : tensor<8x4xf32> source "m.onnx" tensor "q.weight"
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
    (`rope`, `kv_append`, `attend`) read them. `inputs` are those of the file, by
    which a user feeds the model.

    C1: one argument `tensor<?xi32>`. C2: the terminator is a `yield` of one
    value, C3: of `tensor<?xVxf32>` (or, once sampling is part of the model,
    `tensor<?xi32>`). C4: `max_position`, the positions a sequence may have, lies
    in [1, 2^31).
    ```mlir
    adaptive.weight @table : tensor<320x64xf32> source "m.onnx" tensor "embed"
    adaptive.model @decoder max_position 512 {
    ^bb0(%ids: tensor<?xi32>):
      %table = adaptive.use @table : tensor<320x64xf32>
      %h = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
      %logits = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
      adaptive.yield %logits : tensor<?x320xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$max_position,
                       OptionalAttr<Adaptive_InputsAttr>:$inputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `max_position` $max_position (`inputs` $inputs^)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def Adaptive_BlockOp : Adaptive_Op<"block", [IsolatedFromAbove, Symbol, SingleBlock]> {
  let summary = "a body that layers share";
  let description = [{
    The first argument is the residual stream `tensor<?xDxf32>`, the others are
    weights. The terminator yields the new residual stream.

    C1: the first argument is `tensor<?xDxf32>`. C2: the other arguments are
    static tensors. C3: the terminator yields one value of the type of the first
    argument. C4: the body has at most one `kv_append`: a layer owns one entry
    per position.
    ```mlir
    adaptive.block @mlp {
    ^bb0(%h: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %y = adaptive.linear %h weights(%w) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>)
      adaptive.yield %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Adaptive_LayersOp : Adaptive_Op<"layers", [AttrSizedOperandSegments, AllTypesMatch<["input", "result"]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a block once per set of weights";
  let description = [{
    Layer i applies the block with `weights[i]`; its unrolled index is
    `first + i`, which is also the KV layer it appends to and reads.

    With `kv_only`, only the KV entries of the layers are appended, all from the
    operand itself, and the result is the operand (state propagation). With
    `keep`, rows of the mask take the frozen state again after each layer, so that
    their state feeds the KV of every later layer unchanged.

    C1: the callee is a block. C2: every entry of `weights` lists as many weights
    as the block takes, C3: of the same types. C4: operand, result and the block's
    residual stream agree in type. C5: `first` is not negative. C6: unrolled
    indices fit in 32 bits. C7: mask and frozen state come together, C8: and the
    frozen state has the type of the operand. C9: the mask is [?].
    ```mlir
    adaptive.weight @a : tensor<64x64xf32> source "m.onnx" tensor "a"
    adaptive.weight @b : tensor<64x64xf32> source "m.onnx" tensor "b"
    adaptive.block @mlp {
    ^bb0(%h: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %y = adaptive.linear %h weights(%w) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>)
      adaptive.yield %y : tensor<?x64xf32>
    }
    %h1 = adaptive.layers @mlp(%h0) first 0 weights [[@a], [@b]] : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Adaptive_Rows:$input,
                       Optional<Adaptive_Mask>:$keep, Optional<Adaptive_Rows>:$frozen,
                       I64Attr:$first, ArrayAttr:$weights, UnitAttr:$kv_only);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $callee `(` $input `)` (`keep` $keep^ `:` type($keep) `,` $frozen `:` type($frozen))? `first` $first (`kv_only` $kv_only^)? `weights` $weights attr-dict `:` type($result)
  }];
  let extraClassDeclaration = [{
    /// Number of layers this op runs.
    int64_t getNumLayers() { return getWeights().size(); }
  }];
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def Adaptive_RecurseOp : Adaptive_Op<"recurse", [AllTypesMatch<["input", "result"]>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs the same layers several times with the same weights";
  let description = [{
    One application runs the block once per entry of `weights` (the layers of the
    shared body); `times` applications follow each other. Unrolled index of layer
    i of application r is `first + r * size(weights) + i`, each with KV of its own.

    C1 to C6 as for `layers`. C7: `times` is at least 2 and below 2^31.
    ```mlir
    adaptive.block @half {
    ^bb0(%h: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %y = adaptive.linear %h weights(%w) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>)
      adaptive.yield %y : tensor<?x64xf32>
    }
    adaptive.weight @a : tensor<64x64xf32> source "m.onnx" tensor "a"
    %h1 = adaptive.recurse @half(%h0) times 3 first 0 weights [[@a]] : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Adaptive_Rows:$input,
                       I64Attr:$times, I64Attr:$first, ArrayAttr:$weights);
  let results = (outs Adaptive_Rows:$result);
  let extraClassDeclaration = [{
    /// Number of unrolled layers this op runs.
    int64_t getNumLayers() { return getTimes() * getWeights().size(); }
  }];
  let assemblyFormat = [{
    $callee `(` $input `)` `times` $times `first` $first `weights` $weights attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Adaptive_YieldOp : Adaptive_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "ends a region of this dialect";
  let description = [{
    The values are the results of the region; the op around it says which types
    they have.
    ```mlir
    %y = adaptive.map(%a) : (tensor<?x64xf32>) -> tensor<?x64xf32> {
    ^bb0(%x: f32):
      %n = arith.negf %x : f32
      adaptive.yield %n : f32
    }
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

} // opDocGroup

#endif

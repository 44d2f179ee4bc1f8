// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ops every backend implements. Each has a linalg decomposition that is
// its oracle.

#ifndef ADAPTIVE_KERNEL_OPS_TD
#define ADAPTIVE_KERNEL_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveAttrs.td"
include "AdaptiveDialect/IR/AdaptiveTypes.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Adaptive_KernelDocGroup : OpDocGroup {
  let summary = "Kernels";
  let description = "What a backend implements.";
}

let opDocGroup = Adaptive_KernelDocGroup in {

def Adaptive_EmbedOp : Adaptive_Op<"embed", [Pure]> {
  let summary = "looks up the rows of a table";
  let description = [{
    result[i] = table[ids[i]].

    An id outside [0, V) reads row 0; the runtime refuses such ids before they
    reach a stage.

    C1: ids are [?]. C2: the table is [V, D] and the result [?, D].
    ```mlir
    %h = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Adaptive_Ids:$ids, Adaptive_WeightTensor:$table);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` type($ids) `,` type($table) `->` type($result)";
  let hasVerifier = 1;
}

def Adaptive_NormOp : Adaptive_Op<"norm", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "normalises each row (or each group of a row)";
  let description = [{
    rms: x / sqrt(mean(x^2) + epsilon) * scale. layer: subtracts the mean first and
    adds `bias`. The mean runs over `width(scale)` elements; a row of several such
    groups (heads) is normalised group by group.

    C1: the row width is a multiple of the width of the scale. C2: only layer
    takes a bias, C3: of the type of the scale. C4: epsilon is not negative.
    ```mlir
    %n = adaptive.norm rms %h, %w epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
    ```
  }];
  let arguments = (ins Adaptive_NormKindAttr:$kind, Adaptive_Rows:$input,
                       Adaptive_WeightTensor:$scale, Optional<Adaptive_WeightTensor>:$bias,
                       F64Attr:$epsilon);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    custom<Keyword>($kind) $input `,` $scale (`,` $bias^ `:` type($bias))? `epsilon` $epsilon attr-dict `:` type($input) `,` type($scale)
  }];
  let hasVerifier = 1;
}

def Adaptive_LinearOp : Adaptive_Op<"linear", [Pure, AttrSizedOperandSegments, SingleBlock]> {
  let summary = "multiplies rows with one or more weight matrices";
  let description = [{
    For weight w of [N, K]: y[i, n] = sum_k x[i, k] * w[n, k], summed in ascending k.

    Without a region there is one result per weight: several projections of one
    input share a launch. With a region the weights have equal shapes and the
    region combines, element by element, the sums of all weights and the elements
    of `extras` (rows of the same width, or a bias of one dimension) into the one
    result: bias, activation, gate and residual add are epilogues of this kind.

    C1: the input is [?, K] and there is a weight. C2: every weight is [N, K]. C3: without a region there are no extras, C4: one result per weight,
    C5: and result j is [?, N_j]. C6: with a region there is one result, [?, N].
    C7: all weights have one type, C8: and extras have width N. C9: the region
    takes one f32 per weight and per extra, C10: yields one f32, C11: and holds
    only arith and math ops.
    ```mlir
    %q, %k = adaptive.linear %x weights(%wq, %wk) : tensor<?x64xf32>, (tensor<64x64xf32>, tensor<32x64xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>)
    ```
  }];
  let arguments = (ins Adaptive_Rows:$input, Variadic<Adaptive_WeightTensor>:$weights,
                       Variadic<Adaptive_Rows>:$extras);
  let results = (outs Variadic<Adaptive_Rows>:$outputs);
  let regions = (region MaxSizedRegion<1>:$epilogue);
  let assemblyFormat = [{
    $input `weights` `(` $weights `)` (`extras` `(` $extras^ `:` type($extras) `)`)?
    attr-dict `:` type($input) `,` `(` type($weights) `)` `->` `(` type($outputs) `)` (`epilogue` $epilogue^)?
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def Adaptive_MapOp : Adaptive_Op<"map", [Pure, SingleBlock]> {
  let summary = "computes each element of a row from the same elements of others";
  let description = [{
    The region takes one f32 per operand and yields one f32.

    C1: operands are rows of the width of the result, or of one dimension of that
    width (broadcast over rows), C2: at least one of them rows: they say how many
    rows there are. C3: the result is [?, D]. C4: the region takes one f32 per
    operand, C5: yields one f32, C6: and holds only arith and math ops.
    ```mlir
    %s = adaptive.map(%a, %b) : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32> {
    ^bb0(%x: f32, %y: f32):
      %z = arith.addf %x, %y : f32
      adaptive.yield %z : f32
    }
    ```
  }];
  let arguments = (ins Variadic<Adaptive_Rows>:$inputs);
  let results = (outs Adaptive_Rows:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $inputs `)` attr-dict `:` `(` type($inputs) `)` `->` type($result) $body
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasRegionVerifier = 1;
}

def Adaptive_RopeOp : Adaptive_Op<"rope", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "rotates each head of a row by its position";
  let description = [{
    Tables are [positions, R/2] for R rotated elements at the start of each head.
    Halves: elements (j, j + R/2) turn together; interleaved: (2j, 2j + 1).

    C1: both tables have one type [P, R/2]. C2: head_dim divides the row width.
    C3: R is at most head_dim.
    ```mlir
    %r = adaptive.rope %q, %cos, %sin head_dim 64 : tensor<?x576xf32>, tensor<8192x32xf32>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$input, Adaptive_WeightTensor:$cos,
                       Adaptive_WeightTensor:$sin, I64Attr:$head_dim, UnitAttr:$interleaved);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $input `,` $cos `,` $sin `head_dim` $head_dim (`interleaved` $interleaved^)? attr-dict `:` type($input) `,` custom<SameType>(type($cos), type($sin))
  }];
  let hasVerifier = 1;
}

def Adaptive_SampleOp : Adaptive_Op<"sample", [Pure]> {
  let summary = "draws the next token of each row from its logits";
  let description = [{
    Reads the sampler record of the row's sequence: temperature 0 takes the
    largest logit, ties go to the lowest id; otherwise top-k, then top-p, then
    min-p restrict the softmax at the temperature, and one counter-based random
    number keyed by (seed, position) picks. Sums run in ascending id.

    C1: logits are [?, V], the result [?].
    ```mlir
    %t = adaptive.sample %logits : tensor<?x320xf32> -> tensor<?xi32>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$logits);
  let results = (outs Adaptive_Ids:$result);
  let assemblyFormat = "$logits attr-dict `:` type($logits) `->` type($result)";
  let hasVerifier = 1;
}

} // opDocGroup

#endif

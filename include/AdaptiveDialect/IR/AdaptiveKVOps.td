// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Keys and values.

#ifndef ADAPTIVE_KV_OPS_TD
#define ADAPTIVE_KV_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveTypes.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Adaptive_KVDocGroup : OpDocGroup {
  let summary = "KV";
  let description = "Keys and values, by unrolled layer.";
}

let opDocGroup = Adaptive_KVDocGroup in {

def Adaptive_KVAppendOp : Adaptive_Op<"kv_append", [MemoryEffects<[MemWrite]>, AllTypesMatch<["keys", "values"]>]> {
  let summary = "appends the keys and values of the rows to their sequences";
  let description = [{
    Row i writes position `position[i]` of sequence `sequence[i]` in the KV of the
    enclosing layer. Later ops of the layer see the entries of all rows of the
    launch. Later launches read them too: an append is live without an `attend`
    beside it.

    C1: keys and values are `tensor<?x(heads*headDim)xf32>` of the KV's heads.
    ```mlir
    %kv = adaptive.kv_append %k, %v : tensor<?x192xf32> -> !adaptive.kv<3 x 64>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$keys, Adaptive_Rows:$values);
  let results = (outs Adaptive_KVType:$kv);
  let assemblyFormat = "$keys `,` $values attr-dict `:` type($keys) `->` qualified(type($kv))";
  let hasVerifier = 1;
}

def Adaptive_AttendOp : Adaptive_Op<"attend", [Pure, AllTypesMatch<["query", "result"]>]> {
  let summary = "causal attention of each row over its sequence";
  let description = [{
    Row i attends to the positions 0 to `position[i]` of its sequence:
    softmax(scale * q . k) v per head; query head h reads KV head
    `h * kvHeads / heads`.

    C1: `heads` is a positive multiple of the KV heads. C2: the query is
    `tensor<?x(heads*headDim)xf32>`. C3: scale is finite and positive.
    ```mlir
    %a = adaptive.attend %q, %kv heads 9 scale 0.125 : tensor<?x576xf32>, !adaptive.kv<3 x 64>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$query, Adaptive_KVType:$kv, I64Attr:$heads, F64Attr:$scale);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $query `,` $kv `heads` $heads `scale` $scale attr-dict `:` type($query) `,` qualified(type($kv))
  }];
  let hasVerifier = 1;
}

} // opDocGroup

#endif

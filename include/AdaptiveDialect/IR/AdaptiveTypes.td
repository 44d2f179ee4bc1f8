// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Types of the dialect.

#ifndef ADAPTIVE_TYPES_TD
#define ADAPTIVE_TYPES_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "mlir/IR/AttrTypeBase.td"

def Adaptive_KVType : TypeDef<Adaptive_Dialect, "KV"> {
  let mnemonic = "kv";
  let summary = "keys and values of one unrolled layer, all positions so far";
  let description = [{
    `!adaptive.kv<3 x 64>` holds, for every sequence, the keys and values of
    3 heads of 64 elements at each position appended so far.

    C1: heads and head dimension lie in [1, 2^20].
  }];
  let parameters = (ins "int64_t":$heads, "int64_t":$headDim);
  let assemblyFormat = "`<` $heads `x` $headDim `>`";
  let genVerifyDecl = 1;
}

def Adaptive_NodeType : TypeDef<Adaptive_Dialect, "Node"> {
  let mnemonic = "node";
  let summary = "a node of the depth program";
  let description = [{
    An operand of this type is an edge of a `program`.
  }];
}

#endif

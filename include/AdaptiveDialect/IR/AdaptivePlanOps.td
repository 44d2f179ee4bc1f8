// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The planned model: stages and the depth program that connects them.

#ifndef ADAPTIVE_PLAN_OPS_TD
#define ADAPTIVE_PLAN_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveAttrs.td"
include "mlir/IR/SymbolInterfaces.td"

def Adaptive_PlanDocGroup : OpDocGroup {
  let summary = "Plan";
  let description = "Stages, KV levels and the depth program.";
}

let opDocGroup = Adaptive_PlanDocGroup in {

def Adaptive_KVLevelOp : Adaptive_Op<"kv_level", [Symbol]> {
  let summary = "a set of unrolled layers that hold the same positions";
  let description = [{
    Layers [first, first + layers) share pages and block tables.

    C1: all sizes are positive. C2: levels do not overlap.
    ```mlir
    adaptive.kv_level @level0 layers 0 to 24 heads 3 head_dim 64 page 64 fill exact
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$first, I64Attr:$end,
                       I64Attr:$heads, I64Attr:$head_dim, I64Attr:$page,
                       Adaptive_KVFillAttr:$fill);
  let assemblyFormat = [{
    $sym_name `layers` $first `to` $end `heads` $heads `head_dim` $head_dim `page` $page `fill` $fill attr-dict
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getNumLayers() { return getEnd() - getFirst(); }
    /// Bytes of one position in all layers of the level: K and V, f32.
    int64_t getBytesPerPosition() { return getNumLayers() * getHeads() * getHeadDim() * 8; }
    int64_t getPageBytes() { return getBytesPerPosition() * getPage(); }
  }];
}

def Adaptive_StageOp : Adaptive_Op<"stage", [IsolatedFromAbove, Symbol, SingleBlock]> {
  let summary = "a function over any set of rows";
  let description = [{
    Arguments are columns of the row store (named by `reads`; `token` is the token
    column); the terminator's values are stored into the columns named by
    `writes` (`token`: the sampled id, `decision`: the decision column, `score`:
    the criterion of exit `exit`).

    C1: as many names as arguments and yielded values.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$reads, StrArrayAttr:$writes,
                       OptionalAttr<FlatSymbolRefAttr>:$level, I64Attr:$depth,
                       OptionalAttr<I64Attr>:$exit);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `reads` $reads `writes` $writes (`level` $level^)? `depth` $depth (`exit` $exit^)? attr-dict-with-keyword $body
  }];
  let hasRegionVerifier = 1;
}

def Adaptive_ProgramOp : Adaptive_Op<"program", []> {
  let summary = "the depth program: stages and decisions with their edges";
  let description = [{
    `nodes` is a list of dictionaries as described in the artifact format.

    C1: every edge names a node of the list. C2: every stage exists. C3: every
    node can be reached from node 0, which is the `embed` node.
  }];
  let arguments = (ins ArrayAttr:$nodes);
  let assemblyFormat = "$nodes attr-dict";
  let hasVerifier = 1;
}

} // opDocGroup

#endif

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The planned model: stages and the depth program that connects them.

#ifndef ADAPTIVE_PLAN_OPS_TD
#define ADAPTIVE_PLAN_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveAttrs.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Adaptive_PlanDocGroup : OpDocGroup {
  let summary = "Plan";
  let description = "Stages, KV levels and the depth program.";
}

let opDocGroup = Adaptive_PlanDocGroup in {

def Adaptive_KVLevelOp : Adaptive_Op<"kv_level", [Symbol]> {
  let summary = "a set of unrolled layers that hold the same positions";
  let description = [{
    Layers [first, end) share pages of `page` positions and block tables.

    C1: there are layers and all sizes are positive. C2: levels do not overlap.
    C3: a page has fewer than 2^63 bytes.
    ```mlir
    adaptive.kv_level @level0 layers 0 to 24 heads 3 head_dim 64 page 64 fill exact
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$first, I64Attr:$end,
                       I64Attr:$heads, I64Attr:$head_dim, I64Attr:$page,
                       Adaptive_KVFillAttr:$fill);
  let assemblyFormat = [{
    $sym_name `layers` $first `to` $end `heads` $heads `head_dim` $head_dim `page` $page `fill` custom<Keyword>($fill) attr-dict
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getNumLayers() { return getEnd() - getFirst(); }
    /// Bytes of one position in all layers of the level: K and V, f32.
    int64_t getBytesPerPosition() { return getNumLayers() * getHeads() * getHeadDim() * 8; }
    int64_t getPageBytes() { return getBytesPerPosition() * getPage(); }
  }];
}

def Adaptive_ExitEntryOp : Adaptive_Op<"exit_entry", [Symbol]> {
  let summary = "an exit as the artifact lists it";
  let description = [{
    What the policy seeds are made of; it stays when a lowering takes the exit
    away.

    C1: `index` lies in [0, 32). C2: `depth` is not negative. C3: the threshold is
    a number.
    ```mlir
    adaptive.exit_entry @e24 index 0 depth 24 criterion probe threshold 1.0 fill exact
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$index, I64Attr:$depth,
                       Adaptive_CriterionAttr:$criterion, F64Attr:$threshold,
                       Adaptive_KVFillAttr:$fill);
  let assemblyFormat = [{
    $sym_name `index` $index `depth` $depth `criterion` custom<Keyword>($criterion) `threshold` $threshold `fill` custom<Keyword>($fill) attr-dict
  }];
  let hasVerifier = 1;
}

def Adaptive_StageOp : Adaptive_Op<"stage", [IsolatedFromAbove, Symbol, SingleBlock, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a function over any set of rows";
  let description = [{
    Arguments are columns of the row store (named by `reads`; `token` is the token
    column); the terminator's values are stored into the columns named by
    `writes` (`token`: the sampled id, `decision`: the decision column, `score`:
    the criterion of exit `exit`).

    C1: the body ends in a yield. C2: it takes one argument per name in `reads`,
    C3: and yields one value per name in `writes`. C4: the level exists.
    C5: `depth` is not negative and `exit` lies in [0, 32).
    ```mlir
    adaptive.stage @draw reads ["logits"] writes ["token"] depth 2 {
    ^bb0(%logits: tensor<?x320xf32>):
      %t = adaptive.sample %logits : tensor<?x320xf32> -> tensor<?xi32>
      adaptive.yield %t : tensor<?xi32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$reads, StrArrayAttr:$writes,
                       OptionalAttr<FlatSymbolRefAttr>:$level, I64Attr:$depth,
                       OptionalAttr<I64Attr>:$exit);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `reads` $reads `writes` $writes (`level` $level^)? `depth` $depth (`exit` $exit^)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def Adaptive_CopyOp : Adaptive_Op<"copy", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "moves rows to another buffer";
  let description = [{
    result[i] = input[i]. Buffer planning inserts it where a value could not be
    computed in the column it must end up in.
    ```mlir
    %c = adaptive.copy %h : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32, I32, I1]>:$input);
  let results = (outs RankedTensorOf<[F32, I32, I1]>:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Adaptive_ProgramOp : Adaptive_Op<"program", []> {
  let summary = "the depth program: stages and decisions with their edges";
  let description = [{
    `nodes` is a list of dictionaries as described in the artifact format; `facts`
    are those of the model, with its largest position and its depth.

    C1: every node is a dictionary with a kind. C2: every edge names a node of the
    list. C3: every stage exists. C4: node 0 is the `embed` node, C5: and every
    node can be reached from it.
    ```mlir
    adaptive.stage @step reads ["token"] writes ["token"] depth 0 {
    ^bb0(%t: tensor<?xi32>):
      adaptive.yield %t : tensor<?xi32>
    }
    adaptive.program [
      {kind = "embed", next = 1},
      {kind = "sample", stage = @step, next = 2},
      {kind = "emit", next = 0}
    ]
    ```
  }];
  let arguments = (ins ArrayAttr:$nodes, OptionalAttr<DictionaryAttr>:$facts);
  let assemblyFormat = "$nodes (`facts` $facts^)? attr-dict";
  let hasVerifier = 1;
}

} // opDocGroup

#endif

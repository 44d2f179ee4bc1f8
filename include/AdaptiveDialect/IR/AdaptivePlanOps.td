// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The planned model: stages and the depth program that connects them.

#ifndef ADAPTIVE_PLAN_OPS_TD
#define ADAPTIVE_PLAN_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveAttrs.td"
include "AdaptiveDialect/IR/AdaptiveInterfaces.td"
include "AdaptiveDialect/IR/AdaptiveTypes.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/RegionKindInterface.td"
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
    the criterion of exit `exit`). A launch takes at most `max_rows` rows, where
    that is given: it bounds the memory of a stage whose rows are large.

    C1: the body ends in a yield. C2: it takes one argument per name in `reads`,
    C3: and yields one value per name in `writes`. C4: the level exists.
    C5: `depth` is not negative and `exit` lies in [0, 32). C6: `max_rows` lies in
    [1, 65536].
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
                       OptionalAttr<I64Attr>:$exit, OptionalAttr<I64Attr>:$max_rows);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `reads` $reads `writes` $writes (`level` $level^)? `depth` $depth (`exit` $exit^)? (`max_rows` $max_rows^)? attr-dict-with-keyword $body
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

def Adaptive_ProgramOp : Adaptive_Op<"program", GraphRegionNoTerminator.traits # [IsolatedFromAbove]> {
  let summary = "the depth program: what happens to a row, node by node";
  let description = [{
    The body is a graph region of `node` ops: an edge is an operand, the value of
    the node it leads to, so that an edge to nowhere cannot be written. The token
    loop is in it: `emit` leads back to `embed`. The order of the nodes means
    nothing. What an artifact says about the model stands here: ids there are,
    width of the residual stream, unrolled layers, positions a sequence may have,
    inputs of the file.

    C1: the body takes no arguments and holds nodes only. C2: one node is `embed`.
    C3: only `emit` leads back to it. C4: `emit` leads to `embed` or `end`.
    C5: there is an `emit`. C6: every cycle within a token passes a `run`.
    C7: every node can be reached from `embed`. C8: `vocab` and `hidden` lie in
    [1, 2^24], `layers` in [1, 65536], `max_position` in [1, 2^30].
    ```mlir
    adaptive.stage @step reads ["token"] writes ["token"] depth 0 max_rows 32 {
    ^bb0(%t: tensor<?xi32>):
      adaptive.yield %t : tensor<?xi32>
    }
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %filter
      %filter = adaptive.node.filter emits yes %step no %end
      %step = adaptive.node.run @step next %emit
      %emit = adaptive.node.emit next %embed
      %end = adaptive.node.end
    }
    ```
  }];
  let arguments = (ins I64Attr:$vocab, I64Attr:$hidden, I64Attr:$layers, I64Attr:$max_position,
                       OptionalAttr<Adaptive_InputsAttr>:$inputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `vocab` $vocab `hidden` $hidden `layers` $layers `max_position` $max_position (`inputs` $inputs^)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The nodes in the order of the body, which is that of their indices in an
    /// artifact.
    auto getNodes() { return getBody().getOps<::adaptive::ProgramNodeOpInterface>(); }
  }];
}

// A node of the depth program; its result stands for it in edges.
class Adaptive_NodeOp<string mnemonic, list<Trait> traits = []>
    : Adaptive_Op<mnemonic, traits # [HasParent<"ProgramOp">, Adaptive_ProgramNodeOpInterface,
                                      DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>]> {
  let results = (outs Adaptive_NodeType:$node);
}

def Adaptive_EmbedNodeOp : Adaptive_NodeOp<"node.embed"> {
  let summary = "where a row enters the program";
  let description = [{
    The row has got a slot, its `token` is set; it goes on at `next`.
    ```mlir
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %emit
      %emit = adaptive.node.emit next %embed
    }
    ```
  }];
  let arguments = (ins Adaptive_NodeType:$next);
  let assemblyFormat = "`next` $next attr-dict";
}

def Adaptive_RunNodeOp : Adaptive_NodeOp<"node.run", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "launches a stage over the rows that wait here";
  let description = [{
    The rows append KV to the level of the stage, if it has one, and go on at
    `next`.

    C1: the stage exists.
    ```mlir
    adaptive.stage @step reads ["token"] writes ["token"] depth 0 {
    ^bb0(%t: tensor<?xi32>):
      adaptive.yield %t : tensor<?xi32>
    }
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %step
      %step = adaptive.node.run @step next %emit
      %emit = adaptive.node.emit next %embed
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$stage, Adaptive_NodeType:$next);
  let assemblyFormat = "$stage `next` $next attr-dict";
}

def Adaptive_BranchNodeOp : Adaptive_NodeOp<"node.branch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "parts the rows by the decision of the stage before";
  let description = [{
    Rows whose `decision` is 1 leave: they go to `yes`, the others to `no`. `owes`
    is the first node whose KV a leaving row has skipped: under `exact` the row
    becomes a debt that waits there, under `propagate` it is a node whose stages
    fill that KV from the row's state at once. Rows in catch-up never leave.

    C1: the site is an `exit_entry`.
    ```mlir
    adaptive.exit_entry @e1 index 0 depth 1 criterion margin threshold 1.0 fill exact
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %branch
      %branch = adaptive.node.branch @e1 yes %emit no %emit owes %end
      %emit = adaptive.node.emit next %embed
      %end = adaptive.node.end
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$site, Adaptive_NodeType:$yes, Adaptive_NodeType:$no,
                       Adaptive_NodeType:$owes);
  let assemblyFormat = "$site `yes` $yes `no` $no `owes` $owes attr-dict";
}

def Adaptive_FilterNodeOp : Adaptive_NodeOp<"node.filter"> {
  let summary = "parts the rows by their flags";
  let description = [{
    Rows that have the flags go to `yes`, the others to `no`.
    ```mlir
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %filter
      %filter = adaptive.node.filter emits yes %emit no %end
      %emit = adaptive.node.emit next %embed
      %end = adaptive.node.end
    }
    ```
  }];
  let arguments = (ins Adaptive_RowFlagsAttr:$flags, Adaptive_NodeType:$yes, Adaptive_NodeType:$no);
  let assemblyFormat = "custom<Keyword>($flags) `yes` $yes `no` $no attr-dict";
}

def Adaptive_EmitNodeOp : Adaptive_NodeOp<"node.emit"> {
  let summary = "hands the token of a row to its sequence";
  let description = [{
    The sequence goes on at `next` with the following position.
    ```mlir
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %emit
      %emit = adaptive.node.emit next %embed
    }
    ```
  }];
  let arguments = (ins Adaptive_NodeType:$next);
  let assemblyFormat = "`next` $next attr-dict";
}

def Adaptive_EndNodeOp : Adaptive_NodeOp<"node.end"> {
  let summary = "where a row is done without a token";
  let description = [{
    Rows whose token nobody asks for end here, and chains of debts.
    ```mlir
    adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
      %embed = adaptive.node.embed next %filter
      %filter = adaptive.node.filter emits yes %emit no %end
      %emit = adaptive.node.emit next %embed
      %end = adaptive.node.end
    }
    ```
  }];
  let assemblyFormat = "attr-dict";
}

} // opDocGroup

#endif

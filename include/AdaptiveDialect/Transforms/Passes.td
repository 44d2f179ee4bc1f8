// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that stay within the dialect, in pipeline order.

#ifndef ADAPTIVE_TRANSFORMS_PASSES_TD
#define ADAPTIVE_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

//===-- The contract ------------------------------------------------------===//

def VerifyContract : Pass<"adaptive-verify-contract", "::mlir::ModuleOp"> {
  let summary = "Checks what every later pass relies on";
  let description = [{
    Changes nothing; fails with one line per violation unless:

    C1: no op of the carrier dialect is left. C2: the module holds one model. C3:
    every tensor has a rank. C4: every `attend` reads a `kv_append` of its own
    layer, and neither stands outside of a block. C5: unrolled layers count up
    from 0 without gaps. C6: an exit's depth is the number of layers its state
    needs, and its value and score need no more. C7: exits are numbered from 0 in
    the order of their depth.
  }];
}

def VerifyLogits : Pass<"adaptive-verify-logits", "::mlir::ModuleOp"> {
  let summary = "Checks that a model yields scores of its own token ids";
  let description = [{
    Changes nothing. A graph over token ids may end in a hidden state, in rows of
    its embedding or in scores of other ids; generation would sample them. The
    pass fails with a line that says why unless:

    C1: the model has a layer with attention. C2: what it yields, and what each
    exit yields, is one product with a weight (the head) and at most a bias or a
    function of single elements behind it. C3: every embedding of the ids has as
    many rows as the head has columns, so that each id that can be sampled can
    be read again and each that can be read has a score.
  }];
}

//===-- Exits -------------------------------------------------------------===//

def InsertExits : Pass<"adaptive-insert-exits", "::mlir::ModuleOp"> {
  let summary = "Puts the exits of a spec into the model";
  let description = [{
    For models one cannot export again. Before: a model that yields logits, without
    recursion. After: the same with an exit point for each [[exit]] of the spec;
    tensors of the spec become weights with the source `exits:FILE`.
  }];
  let options = [Option<"spec", "spec", "std::string", """", "path of the spec (TOML)">];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def RecordExits : Pass<"adaptive-record-exits", "::mlir::ModuleOp"> {
  let summary = "Lists the exits of the model";
  let description = [{
    Before: exit points. After: the same, and an `exit_entry` for each, so that
    the artifact can name exits and seed policies whatever a lowering does.
  }];
}

def InsertSampling : Pass<"adaptive-insert-sampling", "::mlir::ModuleOp"> {
  let summary = "Makes sampling part of the model";
  let description = [{
    Before: the model yields logits. After: it yields token ids. Exit lowerings
    then carry sampling to wherever a row ends.
  }];
}

def ExitsMasked : Pass<"adaptive-exits-masked", "::mlir::ModuleOp"> {
  let summary = "Lowers exits to selects over all rows";
  let description = [{
    The dense reading: every row runs every layer, and a select per exit picks its
    value. This is the oracle of all other exit lowerings.

    Before: exit points. After: `decide`, `select` and `mark_depth`; under
    propagate the layers behind an exit keep the frozen rows.
  }];
}

def ExitsGrouped : Pass<"adaptive-exits-grouped", "::mlir::ModuleOp"> {
  let summary = "Lowers exits to leaving the launch";
  let description = [{
    Rows that decide to leave run only what their value needs; the others go on
    in a smaller launch (depth groups).

    Before: exit points. After: a `decide` and a `leave` per exit, placed as soon
    as the score is known, ordered by exit index.
  }];
}

def VerifyLowering : Pass<"adaptive-verify-lowering", "::mlir::ModuleOp"> {
  let summary = "Checks that the exit lowering left no exit point";
  let description = [{
    Any pass may stand in as the exit lowering, so one that lowers nothing is found
    here rather than by a backend without a kernel for exit points. Changes nothing.
    Before and after: no exit points.

    C1: no op that implements the exit point interface is left.
  }];
  let options = [Option<"lowering", "lowering", "std::string", "\"\"", "what the message calls the exit lowering">];
}

//===-- Planning ----------------------------------------------------------===//

def PlanKVLayout : Pass<"adaptive-plan-kv-layout", "::mlir::ModuleOp"> {
  let summary = "Groups unrolled layers into KV levels";
  let description = [{
    Before: exits are lowered. After: one `kv_level` per set of layers that hold
    the same positions; a new level starts behind every `leave`, because rows that
    left owe their entries from there on. Recursion is unrolled into `layers`.
  }];
  let options = [Option<"page", "page", "int64_t", "64", "positions per page, a multiple of 16">];
}

def PackWeights : Pass<"adaptive-pack-weights", "::mlir::ModuleOp"> {
  let summary = "Chooses the format of every weight";
  let description = [{
    Matrices of layers take `format`; matrices outside layers (heads, exit maps)
    and the embedding take `head`; vectors and tables stay plain. Sets the
    attribute `format` of weights; tables are plain.
  }];
  let options = [Option<"format", "format", "std::string", "\"f32\"", "f32, bf16, q8 or q4">,
                 Option<"head", "head", "std::string", "\"\"", "format of heads and embedding; default: format, and q8 under q4">];
}

def SplitStages : Pass<"adaptive-split-stages", "::mlir::ModuleOp"> {
  let summary = "Cuts the model into stages and writes the depth program";
  let description = [{
    Before: a model with `leave` ops and a KV plan. After: one `stage` per piece
    between decisions, one per way to end, and a `program`; the model is gone.
    Values that live across a cut become columns of the row store.
  }];
}

#endif

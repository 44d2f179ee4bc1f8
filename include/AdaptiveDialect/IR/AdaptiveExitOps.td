// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Exit points: criteria, the select that is their meaning, and what exit
// lowerings turn it into.

#ifndef ADAPTIVE_EXIT_OPS_TD
#define ADAPTIVE_EXIT_OPS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "AdaptiveDialect/IR/AdaptiveAttrs.td"
include "AdaptiveDialect/IR/AdaptiveInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Adaptive_ExitDocGroup : OpDocGroup {
  let summary = "Exits";
  let description = "Exit points, their criteria and their lowered forms.";
}

let opDocGroup = Adaptive_ExitDocGroup in {

def Adaptive_CriteriaOp : Adaptive_Op<"criteria", [Pure]> {
  let summary = "scores how sure a row's logits are";
  let description = [{
    Scores lie in logit space: logit(p) = ln p - ln(1 - p).
    max_prob: logit of the largest probability. margin: logit of the difference of
    the two largest. entropy: logit of 1 - H / ln V.

    C1: the criterion is one of max_prob, margin, entropy. C2: the result is [?].
    ```mlir
    %s = adaptive.criteria max_prob %logits : tensor<?x320xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins Adaptive_CriterionAttr:$kind, Adaptive_Rows:$logits);
  let results = (outs Adaptive_Rows:$score);
  let assemblyFormat = "custom<Keyword>($kind) $logits attr-dict `:` type($logits) `->` type($score)";
  let hasVerifier = 1;
}

def Adaptive_ProbeOp : Adaptive_Op<"probe", [Pure]> {
  let summary = "scores a row's state with a learned linear probe";
  let description = [{
    score[i] = weight . x[i] + bias.

    C1: the weight is [D] (or [1, D]) and the bias [1]. C2: the result is [?].
    ```mlir
    %s = adaptive.probe %h, %w, %b : tensor<?x64xf32>, tensor<64xf32>, tensor<1xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$input, Adaptive_WeightTensor:$weight, Adaptive_WeightTensor:$bias);
  let results = (outs Adaptive_Rows:$score);
  let assemblyFormat = "$input `,` $weight `,` $bias attr-dict `:` type($input) `,` type($weight) `,` type($bias) `->` type($score)";
  let hasVerifier = 1;
}

def Adaptive_CosineOp : Adaptive_Op<"cosine", [Pure]> {
  let summary = "scores how little a layer changed a row's state";
  let description = [{
    score = logit((1 + cos(a, b)) / 2).

    C1: both operands have one type [?, D]. C2: the result is [?].
    ```mlir
    %s = adaptive.cosine %h0, %h1 : tensor<?x64xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$previous, Adaptive_Rows:$state);
  let results = (outs Adaptive_Rows:$score);
  let assemblyFormat = "$previous `,` $state attr-dict `:` custom<SameType>(type($previous), type($state)) `->` type($score)";
  let hasVerifier = 1;
}

def Adaptive_ExitOp : Adaptive_Op<"exit", [Pure, AllTypesMatch<["exit_value", "rest_value", "result"]>,
    DeclareOpInterfaceMethods<Adaptive_ExitPointOpInterface>]> {
  let summary = "lets a row leave with a value computed so far";
  let description = [{
    result[i] = decision[i] ? exit_value[i] : rest_value[i], where a row decides to
    leave when its policy lets it and score >= threshold of exit `index` in its
    policy record. `threshold` here only seeds the policy. `state` is the residual
    stream at the exit: under propagate it feeds the KV of the skipped layers.

    C1: the score is [?]. C2: `index` lies in [0, 32). C3: `depth` is not negative.
    C4: the threshold is a number. C5: the state is [?, D].
    ```mlir
    %y = adaptive.exit %e, %r score %s state %h index 0 depth 24 threshold 1.0 criterion probe fill exact name "e24" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$exit_value, Adaptive_Rows:$rest_value, Adaptive_Rows:$score,
                       Adaptive_Rows:$state,
                       I64Attr:$index, I64Attr:$depth, F64Attr:$threshold,
                       Adaptive_CriterionAttr:$criterion, Adaptive_KVFillAttr:$fill, StrAttr:$name);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $exit_value `,` $rest_value `score` $score `state` $state `index` $index `depth` $depth `threshold` $threshold
    `criterion` custom<Keyword>($criterion) `fill` custom<Keyword>($fill) `name` $name attr-dict `:` type($exit_value) `,` type($score) `,` type($state)
  }];
  let hasVerifier = 1;
}

def Adaptive_DecideOp : Adaptive_Op<"decide", [Pure]> {
  let summary = "turns scores into decisions under each row's policy";
  let description = [{
    true where the row leaves at exit `index`: the row's `script` names this exit,
    or the row has no script, is enabled, its policy activates the exit and is not
    force_full, depth >= min_depth, and score >= threshold or depth >= max_depth.

    C1: the score is [?] and the result [?] of i1. C2: `index` lies in [0, 32).
    C3: `depth` is not negative.
    ```mlir
    %d = adaptive.decide %s index 0 depth 24 : tensor<?xf32> -> tensor<?xi1>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$score, I64Attr:$index, I64Attr:$depth);
  let results = (outs Adaptive_Mask:$decision);
  let assemblyFormat = "$score `index` $index `depth` $depth attr-dict `:` type($score) `->` type($decision)";
  let hasVerifier = 1;
}

def Adaptive_SelectOp : Adaptive_Op<"select", [Pure, AllTypesMatch<["true_value", "false_value", "result"]>]> {
  let summary = "chooses between two rows";
  let description = [{
    result[i] = mask[i] ? true_value[i] : false_value[i].

    C1: the mask is [?] of i1.
    ```mlir
    %y = adaptive.select %d, %a, %b : tensor<?xi1>, tensor<?x320xf32>
    ```
  }];
  let arguments = (ins Adaptive_Mask:$mask, Adaptive_Rows:$true_value, Adaptive_Rows:$false_value);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = "$mask `,` $true_value `,` $false_value attr-dict `:` type($mask) `,` type($true_value)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Adaptive_OrOp : Adaptive_Op<"or", [Pure, AllTypesMatch<["lhs", "rhs", "result"]>]> {
  let summary = "rows of either mask";
  let description = [{
    C1: masks and result are [?] of i1.
    ```mlir
    %m = adaptive.or %a, %b : tensor<?xi1>
    ```
  }];
  let arguments = (ins Adaptive_Mask:$lhs, Adaptive_Mask:$rhs);
  let results = (outs Adaptive_Mask:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Adaptive_MarkDepthOp : Adaptive_Op<"mark_depth", []> {
  let summary = "records the depth at which rows took their result";
  let description = [{
    The depth column of every row of the mask becomes `depth`. A lowering that runs
    all rows through all layers says with it where each row's result came from.

    C1: the mask is [?] of i1. C2: the depth is not negative.
    ```mlir
    adaptive.mark_depth %d depth 24 : tensor<?xi1>
    ```
  }];
  let arguments = (ins Adaptive_Mask:$mask, I64Attr:$depth);
  let assemblyFormat = "$mask `depth` $depth attr-dict `:` type($mask)";
  let hasVerifier = 1;
}

// No memory effect traits: taking rows out is an effect of its own, and a pure
// region must not make the op dead.
def Adaptive_LeaveOp : Adaptive_Op<"leave", [SingleBlock]> {
  let summary = "takes deciding rows out of the launch";
  let description = [{
    Rows whose decision is true go to the region, which computes what the model
    yields for them; the others go on behind this op. Rows in catch-up always go
    on. What follows this op never runs for rows that left, so their KV entries of
    later layers are a debt (fill exact) or are filled from `state` (propagate).

    C1: the decision is [?] of i1. C2: `index` lies in [0, 32). C3: `depth` is not
    negative. C4: the op stands in a model, C5: whose types the region yields.
    C6: `state` is given exactly under propagate.
    ```mlir
    adaptive.weight @table : tensor<320x64xf32> source "m.onnx" tensor "embed"
    adaptive.weight @w : tensor<64xf32> source "spec.safetensors" tensor "probe.weight"
    adaptive.weight @b : tensor<1xf32> source "spec.safetensors" tensor "probe.bias"
    adaptive.model @decoder max_position 512 {
    ^bb0(%ids: tensor<?xi32>):
      %table = adaptive.use @table : tensor<320x64xf32>
      %w = adaptive.use @w : tensor<64xf32>
      %b = adaptive.use @b : tensor<1xf32>
      %h = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
      %s = adaptive.probe %h, %w, %b : tensor<?x64xf32>, tensor<64xf32>, tensor<1xf32> -> tensor<?xf32>
      %d = adaptive.decide %s index 0 depth 0 : tensor<?xf32> -> tensor<?xi1>
      adaptive.leave %d index 0 depth 0 fill exact name "e0" : tensor<?xi1> {
        %early = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
        adaptive.yield %early : tensor<?x320xf32>
      }
      %late = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
      adaptive.yield %late : tensor<?x320xf32>
    }
    ```
  }];
  let arguments = (ins Adaptive_Mask:$decision, Optional<Adaptive_Rows>:$state,
                       I64Attr:$index, I64Attr:$depth, Adaptive_KVFillAttr:$fill, StrAttr:$name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $decision `index` $index `depth` $depth `fill` custom<Keyword>($fill) (`state` $state^ `:` type($state))? `name` $name attr-dict `:` type($decision) $body
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

} // opDocGroup

#endif

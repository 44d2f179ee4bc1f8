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
  let assemblyFormat = "$kind $logits attr-dict `:` type($logits) `->` type($score)";
  let hasVerifier = 1;
}

def Adaptive_ProbeOp : Adaptive_Op<"probe", [Pure]> {
  let summary = "scores a row's state with a learned linear probe";
  let description = [{
    score[i] = weight . x[i] + bias.

    C1: the weight is [D] (or [1, D]), the bias [1], the result [?].
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

    C1: both operands have one type [?, D], the result is [?].
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
    policy record. `threshold` here only seeds the policy.

    C1: the score is [?]. C2: index and depth are not negative. C3: the threshold
    is a number. C4: `index` is below 32.
    ```mlir
    %y = adaptive.exit %e, %r score %s index 0 depth 24 threshold 1.000000e+00 criterion probe fill exact name "e24" : tensor<?x320xf32>, tensor<?xf32>
    ```
  }];
  let arguments = (ins Adaptive_Rows:$exit_value, Adaptive_Rows:$rest_value, Adaptive_Rows:$score,
                       I64Attr:$index, I64Attr:$depth, F64Attr:$threshold,
                       Adaptive_CriterionAttr:$criterion, Adaptive_KVFillAttr:$fill, StrAttr:$name);
  let results = (outs Adaptive_Rows:$result);
  let assemblyFormat = [{
    $exit_value `,` $rest_value `score` $score `index` $index `depth` $depth `threshold` $threshold
    `criterion` $criterion `fill` $fill `name` $name attr-dict `:` type($exit_value) `,` type($score)
  }];
  let hasVerifier = 1;
}

def Adaptive_DecideOp : Adaptive_Op<"decide", [Pure]> {
  let summary = "turns scores into decisions under each row's policy";
  let description = [{
    true where the row leaves at exit `index`: the row's `script` names this exit,
    or the row has no script, is enabled, its policy activates the exit and is not
    force_full, depth >= min_depth, and score >= threshold or depth >= max_depth.

    C1: scores [?], result [?] of i1. C2: index in [0, 32), depth not negative.
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
}

def Adaptive_LeaveOp : Adaptive_Op<"leave", [SingleBlock, RecursiveMemoryEffects]> {
  let summary = "takes deciding rows out of the launch";
  let description = [{
    Rows whose decision is true go to the region, which computes what the model
    yields for them; the others go on behind this op. Rows in catch-up always go
    on. What follows this op never runs for rows that left, so their KV entries of
    later layers are a debt (fill exact) or are filled from `state` (propagate).

    C1: the decision is [?] of i1. C2: the region yields values of the same types
    as the model. C3: under propagate `state` is given.
    ```mlir
    adaptive.leave %d index 0 depth 24 fill exact name "e24" : tensor<?xi1> {
      adaptive.yield %logits : tensor<?x320xf32>
    }
    ```
  }];
  let arguments = (ins Adaptive_Mask:$decision, I64Attr:$index, I64Attr:$depth,
                       Adaptive_KVFillAttr:$fill, StrAttr:$name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $decision `index` $index `depth` $depth `fill` $fill `name` $name attr-dict `:` type($decision) $body
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

} // opDocGroup

#endif

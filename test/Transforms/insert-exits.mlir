// An exit point per table of the spec, shallow first whatever the order there; the
// layers are cut where exits stand, and each exit has a head of its own.
//
// RUN: split-file %s %t
// RUN: %python %S/Inputs/exit_heads.py %t/heads.safetensors
// RUN: ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/reuse.toml},adaptive-verify-contract)' | FileCheck %s --check-prefix=REUSE
// RUN: ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/cosine.toml},adaptive-verify-contract)' | FileCheck %s --check-prefix=COSINE
// RUN: ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/heads.toml},adaptive-verify-contract)' | FileCheck %s --check-prefix=HEADS

// The criterion reads the exit's own logits; defaults are exact and the name e2.
// REUSE-NOT: source "exits:
// REUSE: adaptive.model
// REUSE: %[[H0:.*]] = adaptive.embed
// REUSE: %[[H2:.*]] = adaptive.layers @b(%[[H0]]) first 0 weights {{\[\[}}@w0], [@w1]]
// REUSE: %[[N2:.*]] = adaptive.norm rms %[[H2]],
// REUSE: %[[L2:.*]] = adaptive.linear %[[N2]] weights
// REUSE: %[[S2:.*]] = adaptive.criteria max_prob %[[L2]]
// REUSE: %[[H4:.*]] = adaptive.layers @b(%[[H2]]) first 2 weights {{\[\[}}@w2], [@w3]]
// REUSE: %[[N4:.*]] = adaptive.norm rms %[[H4]],
// REUSE: %[[L4:.*]] = adaptive.linear %[[N4]] weights
// REUSE: %[[Y:.*]] = adaptive.exit %[[L2]], %[[L4]] score %[[S2]] state %[[H2]] index 0 depth 2 threshold 5.000000e-01 criterion max_prob fill exact name "e2"
// REUSE-NOT: adaptive.exit
// REUSE: adaptive.yield %[[Y]]

// Behind the first layer cosine compares with the embedding; further up with the
// state one layer before, which cuts the layers once more.
// COSINE: %[[H0:.*]] = adaptive.embed
// COSINE: %[[H1:.*]] = adaptive.layers @b(%[[H0]]) first 0 weights {{\[\[}}@w0]]
// COSINE: %[[S1:.*]] = adaptive.cosine %[[H0]], %[[H1]]
// COSINE: %[[H2:.*]] = adaptive.layers @b(%[[H1]]) first 1 weights {{\[\[}}@w1]]
// COSINE: %[[H3:.*]] = adaptive.layers @b(%[[H2]]) first 2 weights {{\[\[}}@w2]]
// COSINE: %[[S3:.*]] = adaptive.cosine %[[H2]], %[[H3]]
// COSINE: %[[H4:.*]] = adaptive.layers @b(%[[H3]]) first 3 weights {{\[\[}}@w3]]
// COSINE: %[[Y3:.*]] = adaptive.exit %{{.*}}, %{{.*}} score %[[S3]] state %[[H3]] index 1 depth 3 threshold 9.000000e-01 criterion cosine fill propagate name "late"
// COSINE: %[[Y1:.*]] = adaptive.exit %{{.*}}, %[[Y3]] score %[[S1]] state %[[H1]] index 0 depth 1 threshold 7.500000e-01 criterion cosine fill propagate name "e1"
// COSINE: adaptive.yield %[[Y1]]

// Tensors of the spec become weights that name their file; matrices are stored
// [in, out] and turned around.
// HEADS-DAG: adaptive.weight @[[MAP:.*]] : tensor<4x4xf32> source "exits:heads.safetensors" tensor "map" transposed
// HEADS-DAG: adaptive.weight @[[BIAS:.*]] : tensor<4xf32> source "exits:heads.safetensors" tensor "bias"{{$}}
// HEADS-DAG: adaptive.weight @[[DOWN:.*]] : tensor<2x4xf32> source "exits:heads.safetensors" tensor "down" transposed
// HEADS-DAG: adaptive.weight @[[UP:.*]] : tensor<4x2xf32> source "exits:heads.safetensors" tensor "up" transposed
// HEADS-DAG: adaptive.weight @[[PROBE:.*]] : tensor<4xf32> source "exits:heads.safetensors" tensor "probe"{{$}}
// HEADS-DAG: adaptive.weight @[[OFFSET:.*]] : tensor<1xf32> source "exits:heads.safetensors" tensor "probe_bias"{{$}}
// HEADS: adaptive.model
// HEADS: %[[H1:.*]] = adaptive.layers {{.*}}first 0
// HEADS: %[[P:.*]] = adaptive.use @[[PROBE]]
// HEADS: %[[O:.*]] = adaptive.use @[[OFFSET]]
// HEADS: %[[S1:.*]] = adaptive.probe %[[H1]], %[[P]], %[[O]]
// HEADS: %[[D:.*]] = adaptive.use @[[DOWN]]
// HEADS: %[[X:.*]] = adaptive.linear %[[H1]] weights(%[[D]])
// HEADS: %[[U:.*]] = adaptive.use @[[UP]]
// HEADS: %[[M1:.*]] = adaptive.linear %[[X]] weights(%[[U]])
// HEADS: adaptive.norm rms %[[M1]],
// HEADS: %[[H3:.*]] = adaptive.layers {{.*}}first 1
// HEADS: %[[M:.*]] = adaptive.use @[[MAP]]
// HEADS: %[[X3:.*]] = adaptive.linear %[[H3]] weights(%[[M]])
// HEADS: %[[B:.*]] = adaptive.use @[[BIAS]]
// HEADS: %[[M3:.*]] = adaptive.map(%[[X3]], %[[B]])
// HEADS: arith.addf
// HEADS: adaptive.norm rms %[[M3]],
// HEADS: adaptive.criteria margin
// HEADS: adaptive.exit {{.*}} state %[[H3]] index 1 depth 3
// HEADS: adaptive.exit {{.*}} score %[[S1]] state %[[H1]] index 0 depth 1 threshold -1.000000e+00 criterion probe

//--- model.mlir
adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w0 : tensor<4xf32> source "m.onnx" tensor "w0"
adaptive.weight @w1 : tensor<4xf32> source "m.onnx" tensor "w1"
adaptive.weight @w2 : tensor<4xf32> source "m.onnx" tensor "w2"
adaptive.weight @w3 : tensor<4xf32> source "m.onnx" tensor "w3"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}
adaptive.model @main max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %w = adaptive.use @w0 : tensor<4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h4 = adaptive.layers @b(%h0) first 0 weights [[@w0], [@w1], [@w2], [@w3]] : tensor<?x4xf32>
  %n = adaptive.norm rms %h4, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %l = adaptive.linear %n weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  adaptive.yield %l : tensor<?x8xf32>
}

//--- reuse.toml
version = 1
[[exit]]
layer = 2
threshold = 0.5
head = { kind = "reuse" }

//--- cosine.toml
version = 1
[[exit]]
name = "late"
layer = 3
criterion = "cosine"
threshold = 0.9
fill = "propagate"
head = { kind = "reuse" }
[[exit]]
fill = "propagate"
layer = 1
criterion = "cosine"
threshold = 0.75
head = { kind = "reuse" }

//--- heads.toml
version = 1
[[exit]]
layer = 3
criterion = "margin"
threshold = 0.9
head = { kind = "map", weights = "heads.safetensors", map = "map", bias = "bias" }
[[exit]]
layer = 1
criterion = "probe"
threshold = -1
head = { kind = "lowrank", weights = "heads.safetensors", down = "down", up = "up" }
probe = { weights = "heads.safetensors", weight = "probe", bias = "probe_bias" }

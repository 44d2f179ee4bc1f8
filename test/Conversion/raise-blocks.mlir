// RUN: ee-opt %s -split-input-file -adaptive-raise-blocks | FileCheck %s

// Four layers, an exit behind the second: two runs of one block. The third and
// fourth application use the same weights: a recursion.

// CHECK:       adaptive.block @layer {
// CHECK-NEXT:  ^bb0(%[[X:.*]]: tensor<?x4xf32>, %[[S:.*]]: tensor<4xf32>):
// CHECK-NEXT:    %[[N:.*]] = adaptive.norm rms %[[X]], %[[S]]
// CHECK-NEXT:    %[[KV:.*]] = adaptive.kv_append %[[N]], %[[N]]
// CHECK-NEXT:    %[[A:.*]] = adaptive.attend %[[N]], %[[KV]]
// CHECK-NEXT:    %[[R:.*]] = adaptive.map(%[[X]], %[[A]])
// CHECK:         adaptive.yield %[[R]]
// CHECK-NOT:   adaptive.block
// CHECK:       adaptive.model @main
// CHECK:         %[[H0:.*]] = adaptive.embed
// CHECK:         %[[H2:.*]] = adaptive.layers @layer(%[[H0]]) first 0 weights {{\[\[}}@a], [@b]] : tensor<?x4xf32>
// The exit reads the norm of layer 2: it has its own now.
// CHECK:         %[[E:.*]] = adaptive.norm rms %[[H2]]
// CHECK:         %[[P:.*]] = adaptive.probe %[[H2]]
// CHECK:         %[[H4:.*]] = adaptive.recurse @layer(%[[H2]]) times 2 first 2 weights {{\[\[}}@a]] : tensor<?x4xf32>
// CHECK:         adaptive.exit %[[E]], %[[H4]] score %[[P]] state %[[H2]] index 0 depth 2
// CHECK-NOT:     adaptive.attend
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.weight @a : tensor<4xf32> source "m.onnx" tensor "a"
adaptive.weight @b : tensor<4xf32> source "m.onnx" tensor "b"
adaptive.weight @c : tensor<1xf32> source "m.onnx" tensor "c"
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %a = adaptive.use @a : tensor<4xf32>
  %b = adaptive.use @b : tensor<4xf32>
  %c = adaptive.use @c : tensor<1xf32>
  %h0 = adaptive.embed %ids, %emb : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %n0 = adaptive.norm rms %h0, %a epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %kv0 = adaptive.kv_append %n0, %n0 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a0 = adaptive.attend %n0, %kv0 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %h1 = adaptive.map(%h0, %a0) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %n1 = adaptive.norm rms %h1, %b epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %kv1 = adaptive.kv_append %n1, %n1 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a1 = adaptive.attend %n1, %kv1 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %h2 = adaptive.map(%h1, %a1) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %n2 = adaptive.norm rms %h2, %a epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %s = adaptive.probe %h2, %b, %c : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %kv2 = adaptive.kv_append %n2, %n2 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a2 = adaptive.attend %n2, %kv2 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %h3 = adaptive.map(%h2, %a2) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %n3 = adaptive.norm rms %h3, %a epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %kv3 = adaptive.kv_append %n3, %n3 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a3 = adaptive.attend %n3, %kv3 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %h4 = adaptive.map(%h3, %a3) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %o = adaptive.exit %n2, %h4 score %s state %h2 index 0 depth 2 threshold 1.0 criterion probe fill exact name "e" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %o : tensor<?x4xf32>
}

// -----

// Layers that differ are blocks of their own.

// CHECK-DAG:  adaptive.block @layer {
// CHECK-DAG:  adaptive.block @layer_0 {
// CHECK:      %[[H1:.*]] = adaptive.layers @[[A:.*]](%{{.*}}) first 0 weights {{\[\[}}]]
// CHECK:      %[[H2:.*]] = adaptive.layers @[[B:.*]](%[[H1]]) first 1 weights {{\[\[}}]]
// CHECK:      adaptive.yield %[[H2]]
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %emb : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %kv0 = adaptive.kv_append %h0, %h0 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %h1 = adaptive.attend %h0, %kv0 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %kv1 = adaptive.kv_append %h1, %h1 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %h2 = adaptive.attend %h1, %kv1 heads 1 scale 0.25 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %h2 : tensor<?x4xf32>
}

// One level per run of layers that hold the same positions; a new one behind every
// leave; recursion becomes layers.
//
// RUN: ee-opt %s --split-input-file --pass-pipeline='builtin.module(adaptive-plan-kv-layout{page=32})' | FileCheck %s --implicit-check-not=adaptive.kv_level --implicit-check-not=adaptive.recurse
// RUN: ee-opt %s --split-input-file --pass-pipeline='builtin.module(adaptive-plan-kv-layout)' | FileCheck %s --check-prefix=DEFAULT

// The level behind a leave says how rows that left pay what they owe.
// CHECK: adaptive.kv_level @level0 layers 0 to 2 heads 1 head_dim 4 page 32 fill exact
// CHECK-NEXT: adaptive.kv_level @level1 layers 2 to 3 heads 1 head_dim 4 page 32 fill propagate
// CHECK: adaptive.model @leave
// CHECK: adaptive.layers @b({{.*}} first 2
// DEFAULT: adaptive.kv_level @level0 {{.*}} page 64
adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @leave max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[]] : tensor<?x4xf32>
  %s = adaptive.cosine %h1, %h2 : tensor<?x4xf32> -> tensor<?xf32>
  %d = adaptive.decide %s index 0 depth 2 : tensor<?xf32> -> tensor<?xi1>
  adaptive.leave %d index 0 depth 2 fill propagate state %h2 : tensor<?x4xf32> name "e2" : tensor<?xi1> {
    adaptive.yield %h2 : tensor<?x4xf32>
  }
  %h3 = adaptive.layers @b(%h2) first 2 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h3 : tensor<?x4xf32>
}

// -----

// Layers of another KV shape start a level without a leave; a block without
// attention holds none.
// CHECK: adaptive.kv_level @level0 layers 0 to 1 heads 1 head_dim 4 page 32 fill exact
// CHECK-NEXT: adaptive.kv_level @level1 layers 2 to 3 heads 2 head_dim 2 page 32 fill exact
// CHECK: adaptive.model @shapes
adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @one {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.block @none {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}
adaptive.block @two {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<2 x 2>
  %a = adaptive.attend %h, %kv heads 2 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<2 x 2>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @shapes max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @one(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %h2 = adaptive.layers @none(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %h3 = adaptive.layers @two(%h2) first 2 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h3 : tensor<?x4xf32>
}

// -----

// Two passes over a body of two weight sets are four layers with KV of their own.
// CHECK: adaptive.kv_level @level0 layers 0 to 4 heads 1 head_dim 4 page 32 fill exact
// CHECK: adaptive.model @recursion
// CHECK: %[[H:.*]] = adaptive.layers @b(%{{.*}}) first 0 weights {{\[\[}}@w0], [@w1], [@w0], [@w1]]
// CHECK: adaptive.yield %[[H]]
adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w0 : tensor<4xf32> source "m.onnx" tensor "w0"
adaptive.weight @w1 : tensor<4xf32> source "m.onnx" tensor "w1"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %kv = adaptive.kv_append %n, %n : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %n, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @recursion max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.recurse @b(%h0) times 2 first 0 weights [[@w0], [@w1]] : tensor<?x4xf32>
  adaptive.yield %h1 : tensor<?x4xf32>
}

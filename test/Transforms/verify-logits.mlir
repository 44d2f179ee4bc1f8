// RUN: ee-opt %s -split-input-file -adaptive-verify-logits | FileCheck %s

// A head, a bias and a softcap behind it, and an exit whose value is one too.
// CHECK-LABEL: adaptive.model @main
adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @bias : tensor<8xf32> source "m.onnx" tensor "b"
adaptive.weight @square : tensor<4x4xf32> source "m.onnx" tensor "s"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @layer {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %b = adaptive.use @bias : tensor<8xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s1 = adaptive.criteria max_prob %l1 : tensor<?x8xf32> -> tensor<?xf32>
  %h2 = adaptive.recurse @layer(%h1) times 2 first 1 weights [[]] : tensor<?x4xf32>
  %n = adaptive.norm rms %h2, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %l2 = adaptive.linear %n weights(%t) extras(%b : tensor<8xf32>) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %c = adaptive.map (%l2) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32):
    %z = math.tanh %x : f32
    adaptive.yield %z : f32
  }
  %y = adaptive.exit %l1, %c score %s1 state %h1 index 0 depth 1 threshold 1.0 criterion max_prob fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x8xf32>
}

// -----

// As many ids as the stream is wide: the layer may hold the head.
// CHECK-LABEL: adaptive.model @main
adaptive.weight @square : tensor<4x4xf32> source "m.onnx" tensor "s"
adaptive.block @layer {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %l = adaptive.linear %a weights(%w) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>)
  adaptive.yield %l : tensor<?x4xf32>
}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @square : tensor<4x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[@square]] : tensor<?x4xf32>
  adaptive.yield %h1 : tensor<?x4xf32>
}

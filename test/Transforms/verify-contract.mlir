// RUN: ee-opt %s -split-input-file -adaptive-verify-contract | FileCheck %s

// CHECK: adaptive.model @main
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.weight @c : tensor<1xf32> source "m.onnx" tensor "c"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @layer {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %c = adaptive.use @c : tensor<1xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %h0 = adaptive.embed %ids, %emb : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %s = adaptive.probe %h1, %w, %c : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %h5 = adaptive.recurse @layer(%h1) times 2 first 1 weights [[], []] : tensor<?x4xf32>
  %o = adaptive.exit %h1, %h5 score %s state %h1 index 0 depth 1 threshold 1.0 criterion probe fill exact name "e" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %o : tensor<?x4xf32>
}

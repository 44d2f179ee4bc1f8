// RUN: ee-opt %s -split-input-file -verify-diagnostics -adaptive-verify-contract

// C1, C2
// expected-error @+1 {{the module must hold one adaptive.model, but it holds 0}}
module {
  func.func @main(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
    // expected-error @+1 {{a carrier op is left: Softmax}}
    %y = onnx.node "Softmax" version 23 (%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
    return %y : tensor<?x4xf32>
  }
}

// -----

// C4: outside of a block
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
  // expected-error @+3 {{adaptive.attend must lie in an adaptive.block: only there it has a layer}}
  // expected-error @+1 {{adaptive.kv_append must lie in an adaptive.block}}
  %kv = adaptive.kv_append %h0, %h0 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h0, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}

// -----

// C4: reads of nothing that this layer appended
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.weight @c : tensor<1xf32> source "m.onnx" tensor "c"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @layer {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %cast = builtin.unrealized_conversion_cast %kv : !adaptive.kv<1 x 4> to !adaptive.kv<1 x 4>
  // expected-error @+1 {{adaptive.attend must read what an adaptive.kv_append of its layer appended}}
  %a = adaptive.attend %h, %cast heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %c = adaptive.use @c : tensor<1xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %h0 = adaptive.embed %ids, %emb : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h1 : tensor<?x4xf32>
}

// -----

// C5: a gap
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
  // expected-error @+1 {{unrolled layers must count up from 0 without gaps or repetition: expected first 1, but got 2}}
  %h2 = adaptive.layers @layer(%h1) first 2 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h2 : tensor<?x4xf32>
}

// -----

// C5: a repetition
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
  // expected-error @+1 {{expected first 1, but got 0}}
  %h2 = adaptive.layers @layer(%h1) first 0 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h2 : tensor<?x4xf32>
}

// -----

// C6: the wrong depth
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
  %h2 = adaptive.layers @layer(%h1) first 1 weights [[]] : tensor<?x4xf32>
  // expected-error @+1 {{exit 0 says depth 2, but its state is there after 1 layers}}
  %o = adaptive.exit %h1, %h2 score %s state %h1 index 0 depth 2 threshold 1.0 criterion probe fill exact name "e02" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %o : tensor<?x4xf32>
}

// -----

// C6: a score from behind the state
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
  %h2 = adaptive.layers @layer(%h1) first 1 weights [[]] : tensor<?x4xf32>
  %s = adaptive.probe %h2, %w, %c : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  // expected-error @+1 {{exit 0: its value and score must not need layers behind its state}}
  %o = adaptive.exit %h1, %h2 score %s state %h1 index 0 depth 1 threshold 1.0 criterion probe fill exact name "e01" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %o : tensor<?x4xf32>
}

// -----

// C7: two exits of one index
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
  %h2 = adaptive.layers @layer(%h1) first 1 weights [[]] : tensor<?x4xf32>
  %o = adaptive.exit %h1, %h2 score %s state %h1 index 0 depth 1 threshold 1.0 criterion probe fill exact name "e01" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  // expected-error @+1 {{exit 0 shares its index with another exit}}
  %p = adaptive.exit %h1, %o score %s state %h1 index 0 depth 1 threshold 1.0 criterion probe fill exact name "e01" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %p : tensor<?x4xf32>
}

// -----

// C7: a gap in the numbers
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
  %h2 = adaptive.layers @layer(%h1) first 1 weights [[]] : tensor<?x4xf32>
  // expected-error @+1 {{exits must be numbered from 0 in the order of their depth, but exit 1 has depth 1}}
  %o = adaptive.exit %h1, %h2 score %s state %h1 index 1 depth 1 threshold 1.0 criterion probe fill exact name "e11" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %o : tensor<?x4xf32>
}

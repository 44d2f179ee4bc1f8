// RUN: ee-opt %s -split-input-file -verify-diagnostics -adaptive-verify-logits

// C1
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
// expected-error @+1 {{the graph has no attention: its rows do not depend on those before them}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %l = adaptive.linear %h0 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  adaptive.yield %l : tensor<?x8xf32>
}

// -----

// C2: the stream itself
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
// expected-error @+1 {{its output is not proven to be logits: it is no product with the weight of a head, but a hidden state or a function of several}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h1 : tensor<?x4xf32>
}

// -----

// C2: a norm of it
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
// expected-error @+1 {{its output is not proven to be logits: it is no product with the weight of a head, but a hidden state or a function of several}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %n = adaptive.norm rms %h1, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}

// -----

// C2: a residual sum, before it is fused and after
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
// expected-error @+1 {{its output is not proven to be logits: it is no product with the weight of a head, but a hidden state or a function of several}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %s = adaptive.use @square : tensor<4x4xf32>
  %l = adaptive.linear %h1 weights(%s) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>)
  %r = adaptive.map (%h1, %l) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  adaptive.yield %r : tensor<?x4xf32>
}

// -----

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
// expected-error @+1 {{its output is not proven to be logits: it is no product with the weight of a head, but a hidden state or a function of several}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %s = adaptive.use @square : tensor<4x4xf32>
  %r = adaptive.linear %h1 weights(%s) extras(%h1 : tensor<?x4xf32>) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>) epilogue {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  adaptive.yield %r : tensor<?x4xf32>
}

// -----

// C2: an exit that gives its state
adaptive.weight @table : tensor<4x4xf32> source "m.onnx" tensor "t"
adaptive.weight @bias : tensor<8xf32> source "m.onnx" tensor "b"
adaptive.weight @square : tensor<4x4xf32> source "m.onnx" tensor "s"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @layer {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
// expected-error @+1 {{its output is not proven to be logits: it is no product with the weight of a head, but a hidden state or a function of several}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<4x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<4x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %l = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>)
  %s = adaptive.criteria max_prob %l : tensor<?x4xf32> -> tensor<?xf32>
  %y = adaptive.exit %h1, %l score %s state %h1 index 0 depth 1 threshold 1.0 criterion max_prob fill exact name "e" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x4xf32>
}

// -----

// C3: ids without a row
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
adaptive.weight @wide : tensor<10x4xf32> source "m.onnx" tensor "wide"
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %wide = adaptive.use @wide : tensor<10x4xf32>
  // expected-error @+1 {{the embedding has 8 rows, but the output has 10 columns: ids 8 to 9 have a score and no row}}
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %l = adaptive.linear %h1 weights(%wide) : tensor<?x4xf32>, (tensor<10x4xf32>) -> (tensor<?x10xf32>)
  adaptive.yield %l : tensor<?x10xf32>
}

// -----

// C3: an id without a score
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
adaptive.weight @narrow : tensor<7x4xf32> source "m.onnx" tensor "n"
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %n = adaptive.use @narrow : tensor<7x4xf32>
  // expected-error @+1 {{the embedding has 8 rows, but the output has 7 columns: id 7 has a row and no score}}
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %l = adaptive.linear %h1 weights(%n) : tensor<?x4xf32>, (tensor<7x4xf32>) -> (tensor<?x7xf32>)
  adaptive.yield %l : tensor<?x7xf32>
}

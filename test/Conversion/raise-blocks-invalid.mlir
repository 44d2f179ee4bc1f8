// RUN: ee-opt %s -split-input-file -verify-diagnostics -adaptive-raise-blocks

// A value that passes the second attention by: there is no residual stream.
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot find the layers: more than one value is live before attention 1}}
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %emb : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %kv0 = adaptive.kv_append %h0, %h0 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %h1 = adaptive.attend %h0, %kv0 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %kv1 = adaptive.kv_append %h1, %h1 : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %h2 = adaptive.attend %h0, %kv1 heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %h2 : tensor<?x4xf32>
}

// RUN: ee-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(adaptive-split-stages)'

// expected-error @+1 {{expected one model, but found 0}}
module {
}

// -----

// The program names an exit as the artifact lists it.
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
  // expected-error @+1 {{needs exit_entry @e0, as adaptive-record-exits makes}}
  adaptive.leave %d index 0 depth 0 fill exact name "e0" : tensor<?xi1> {
    %early = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
    %t1 = adaptive.sample %early : tensor<?x320xf32> -> tensor<?xi32>
    adaptive.yield %t1 : tensor<?xi32>
  }
  %late = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  %t2 = adaptive.sample %late : tensor<?x320xf32> -> tensor<?xi32>
  adaptive.yield %t2 : tensor<?xi32>
}

// -----

adaptive.weight @table : tensor<320x64xf32> source "m.onnx" tensor "embed"
// expected-error @+1 {{must sample, as adaptive-insert-sampling makes it}}
adaptive.model @decoder max_position 512 {
^bb0(%ids: tensor<?xi32>):
  %table = adaptive.use @table : tensor<320x64xf32>
  %h = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  %late = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  adaptive.yield %late : tensor<?x320xf32>
}

// -----

// The loader would not take it either.
adaptive.weight @table : tensor<320x64xf32> source "m.onnx" tensor "embed"
// expected-error @+1 {{layers must lie in [1, 65536], but got 0}}
adaptive.model @decoder max_position 512 {
^bb0(%ids: tensor<?xi32>):
  %table = adaptive.use @table : tensor<320x64xf32>
  %h = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  %l = adaptive.linear %h weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  %t = adaptive.sample %l : tensor<?x320xf32> -> tensor<?xi32>
  adaptive.yield %t : tensor<?xi32>
}

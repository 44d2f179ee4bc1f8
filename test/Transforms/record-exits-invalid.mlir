// RUN: ee-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(adaptive-record-exits)'

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.model @gap max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %s = adaptive.criteria margin %h : tensor<?x4xf32> -> tensor<?xf32>
  // expected-error@+1 {{indices of exits must count from 0 without gaps, expected 1, but got 2}}
  %y1 = adaptive.exit %h, %h score %s state %h index 2 depth 0 threshold 0.5 criterion margin fill exact name "b" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y0 = adaptive.exit %h, %y1 score %s state %h index 0 depth 0 threshold 0.5 criterion margin fill exact name "a" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y0 : tensor<?x4xf32>
}

// -----

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.model @taken max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %s = adaptive.criteria margin %h : tensor<?x4xf32> -> tensor<?xf32>
  // expected-error@+1 {{name "table" is taken}}
  %y = adaptive.exit %h, %h score %s state %h index 0 depth 0 threshold 0.5 criterion margin fill exact name "table" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x4xf32>
}

// -----

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.model @twice max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %s = adaptive.criteria margin %h : tensor<?x4xf32> -> tensor<?xf32>
  // expected-error@+1 {{name "e" is taken}}
  %y1 = adaptive.exit %h, %h score %s state %h index 1 depth 0 threshold 0.5 criterion margin fill exact name "e" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y0 = adaptive.exit %h, %y1 score %s state %h index 0 depth 0 threshold 0.5 criterion margin fill exact name "e" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y0 : tensor<?x4xf32>
}

// -----

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.model @fills max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %s = adaptive.criteria margin %h : tensor<?x4xf32> -> tensor<?xf32>
  // expected-error@+1 {{fill must be that of exit "a": all exits of a model share it}}
  %y1 = adaptive.exit %h, %h score %s state %h index 1 depth 0 threshold 0.5 criterion margin fill propagate name "b" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y0 = adaptive.exit %h, %y1 score %s state %h index 0 depth 0 threshold 0.5 criterion margin fill exact name "a" : tensor<?x4xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y0 : tensor<?x4xf32>
}

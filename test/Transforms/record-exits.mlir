// One entry per exit, in the order of the indices and not of the text, in front
// of the module; the exit points stay.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-record-exits)' | FileCheck %s

// CHECK: module {
// CHECK-NEXT: adaptive.exit_entry @first index 0 depth 0 criterion margin threshold 2.500000e-01 fill propagate
// CHECK-NEXT: adaptive.exit_entry @second index 1 depth 1 criterion probe threshold -3.000000e+00 fill propagate
// CHECK-NOT: adaptive.exit_entry
// CHECK: adaptive.exit %{{.*}} index 1 {{.*}} name "second"
// CHECK: adaptive.exit %{{.*}} index 0 {{.*}} name "first"

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.weight @one : tensor<1xf32> source "m.onnx" tensor "one"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}
adaptive.model @main max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %one = adaptive.use @one : tensor<1xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %l0 = adaptive.linear %h0 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s0 = adaptive.criteria margin %l0 : tensor<?x8xf32> -> tensor<?xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s1 = adaptive.probe %h1, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y1 = adaptive.exit %l1, %l2 score %s1 state %h1 index 1 depth 1 threshold -3.0 criterion probe fill propagate name "second" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y0 = adaptive.exit %l0, %y1 score %s0 state %h0 index 0 depth 0 threshold 0.25 criterion margin fill propagate name "first" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y0 : tensor<?x8xf32>
}

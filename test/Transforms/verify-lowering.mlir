// A pass that lowers no exits may be named as the lowering; it is found out.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-exits-masked,adaptive-verify-lowering{lowering=masked})' | FileCheck %s
// RUN: not ee-opt %s --pass-pipeline='builtin.module(adaptive-verify-lowering{lowering=cse})' 2>&1 | FileCheck %s --check-prefix=LEFT
// RUN: not ee-opt %s --pass-pipeline='builtin.module(adaptive-plan{exit-lowering=cse})' 2>&1 | FileCheck %s --check-prefix=LEFT

// CHECK-NOT: adaptive.exit
// CHECK: adaptive.decide
// CHECK: adaptive.select
// LEFT: error: exit lowering 'cse' left 2 exit points unlowered; accepted are masked, grouped, or a pass that lowers every exit point
// LEFT-NOT: error:

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}
adaptive.model @main max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s1 = adaptive.criteria max_prob %l1 : tensor<?x8xf32> -> tensor<?xf32>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s2 = adaptive.criteria margin %l2 : tensor<?x8xf32> -> tensor<?xf32>
  %h3 = adaptive.layers @b(%h2) first 2 weights [[@w]] : tensor<?x4xf32>
  %l3 = adaptive.linear %h3 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y2 = adaptive.exit %l2, %l3 score %s2 state %h2 index 1 depth 2 threshold 1.0 criterion margin fill exact name "e2" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y1 = adaptive.exit %l1, %y2 score %s1 state %h1 index 0 depth 1 threshold 1.0 criterion max_prob fill exact name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y1 : tensor<?x8xf32>
}

// What yields logits yields token ids afterwards; what yields ids is left alone.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-insert-sampling)' | FileCheck %s
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-insert-sampling,adaptive-insert-sampling)' | FileCheck %s

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"

// CHECK-LABEL: adaptive.model @logits
// CHECK: %[[L:.*]] = adaptive.linear
// CHECK-NEXT: %[[T:.*]] = adaptive.sample %[[L]] : tensor<?x8xf32> -> tensor<?xi32>
// CHECK-NOT: adaptive.sample
// CHECK: adaptive.yield %[[T]] : tensor<?xi32>
adaptive.model @logits max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %l = adaptive.linear %h weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  adaptive.yield %l : tensor<?x8xf32>
}

// CHECK-LABEL: adaptive.model @exits
// CHECK: %[[X:.*]] = adaptive.exit
// CHECK-NEXT: %[[T:.*]] = adaptive.sample %[[X]]
// CHECK-NEXT: adaptive.yield %[[T]] : tensor<?xi32>
adaptive.model @exits max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %l = adaptive.linear %h weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s = adaptive.criteria margin %l : tensor<?x8xf32> -> tensor<?xf32>
  %y = adaptive.exit %l, %l score %s state %h index 0 depth 0 threshold 0.5 criterion margin fill exact name "e0" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x8xf32>
}

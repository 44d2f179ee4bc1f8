// RUN: ee-opt %s -adaptive-fuse-linear | FileCheck %s

adaptive.weight @g : tensor<8x4xf32> source "m.onnx" tensor "g"
adaptive.weight @u : tensor<8x4xf32> source "m.onnx" tensor "u"
adaptive.weight @d : tensor<4x8xf32> source "m.onnx" tensor "d"
adaptive.weight @b : tensor<4xf32> source "m.onnx" tensor "b"
adaptive.weight @e : tensor<16x4xf32> source "m.onnx" tensor "e"
adaptive.weight @s : tensor<8xf32> source "m.onnx" tensor "s"

// CHECK-DAG: %[[G:.*]] = adaptive.use @g
// CHECK-DAG: %[[U:.*]] = adaptive.use @u
// CHECK-DAG: %[[D:.*]] = adaptive.use @d
// CHECK-DAG: %[[B:.*]] = adaptive.use @b
// CHECK:     %[[H:.*]] = adaptive.embed
// Gate and product: two maps and two linears are one op.
// CHECK:     %[[GU:.*]] = adaptive.linear %[[H]] weights(%[[G]], %[[U]])
// CHECK-SAME: -> (tensor<?x8xf32>) epilogue {
// CHECK-NEXT: ^bb0(%[[X:.*]]: f32, %[[Y:.*]]: f32):
// CHECK-NEXT:   %[[T:.*]] = math.tanh %[[X]]
// CHECK-NEXT:   %[[P:.*]] = arith.mulf %[[T]], %[[Y]]
// CHECK-NEXT:   adaptive.yield %[[P]]
// Bias and residual are extras.
// CHECK:     %[[R:.*]] = adaptive.linear %[[GU]] weights(%[[D]]) extras(%[[H]], %[[B]] : tensor<?x4xf32>, tensor<4xf32>)
// CHECK-NEXT: ^bb0(%[[X:.*]]: f32, %[[Y:.*]]: f32, %[[Z:.*]]: f32):
// CHECK-NEXT:   %[[S:.*]] = arith.addf %[[X]], %[[Z]]
// CHECK-NEXT:   %[[S2:.*]] = arith.addf %[[Y]], %[[S]]
// CHECK-NEXT:   adaptive.yield %[[S2]]
// Projections of the same rows share an op.
// CHECK:     %[[Q:.*]]:2 = adaptive.linear %[[R]] weights(%[[G]], %[[U]])
// CHECK:     %[[QN:.*]] = adaptive.norm rms %[[Q]]#0
// CHECK:     %[[KN:.*]] = adaptive.norm rms %[[Q]]#1
// Maps that one map reads are in it.
// CHECK:     adaptive.map(%[[QN]], %[[KN]])
// CHECK-NOT: adaptive.map
adaptive.model @main max_position 16 {
^bb0(%ids: tensor<?xi32>):
  %e = adaptive.use @e : tensor<16x4xf32>
  %h = adaptive.embed %ids, %e : tensor<?xi32>, tensor<16x4xf32> -> tensor<?x4xf32>
  %wg = adaptive.use @g : tensor<8x4xf32>
  %g = adaptive.linear %h weights(%wg) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %t = adaptive.map(%g) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32):
    %y = math.tanh %x : f32
    adaptive.yield %y : f32
  }
  %wu = adaptive.use @u : tensor<8x4xf32>
  %u = adaptive.linear %h weights(%wu) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %p = adaptive.map(%t, %u) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.mulf %x, %y : f32
    adaptive.yield %z : f32
  }
  %wd = adaptive.use @d : tensor<4x8xf32>
  %wb = adaptive.use @b : tensor<4xf32>
  %d = adaptive.linear %p weights(%wd) : tensor<?x8xf32>, (tensor<4x8xf32>) -> (tensor<?x4xf32>)
  %db = adaptive.map(%d, %wb) : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %r = adaptive.map(%h, %db) : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  %q = adaptive.linear %r weights(%wg) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %k = adaptive.linear %r weights(%wu) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s = adaptive.use @s : tensor<8xf32>
  %qn = adaptive.norm rms %q, %s epsilon 1.0e-5 : tensor<?x8xf32>, tensor<8xf32>
  %kn = adaptive.norm rms %k, %s epsilon 1.0e-5 : tensor<?x8xf32>, tensor<8xf32>
  %n = adaptive.map(%qn, %kn) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.subf %x, %y : f32
    adaptive.yield %z : f32
  }
  %o = adaptive.map(%n, %qn) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.mulf %x, %y : f32
    adaptive.yield %z : f32
  }
  adaptive.yield %o : tensor<?x8xf32>
}

// RUN: ee-opt %s -canonicalize | FileCheck %s

// CHECK-LABEL: func.func @identity(
// CHECK-SAME: %{{.*}}: tensor<?x8xf32>, %[[B:.*]]: tensor<?x8xf32>
func.func @identity(%a: tensor<?x8xf32>, %b: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: return %[[B]]
  %0 = adaptive.map(%a, %b) : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    adaptive.yield %y : f32
  }
  return %0 : tensor<?x8xf32>
}

// A broadcast operand is not the result: it has no rows.
// CHECK-LABEL: func.func @broadcast(
func.func @broadcast(%a: tensor<?x8xf32>, %b: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: adaptive.map
  %0 = adaptive.map(%a, %b) : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    adaptive.yield %y : f32
  }
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @computes(
func.func @computes(%a: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: adaptive.map
  %0 = adaptive.map(%a) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32):
    %y = arith.negf %x : f32
    adaptive.yield %y : f32
  }
  return %0 : tensor<?x8xf32>
}

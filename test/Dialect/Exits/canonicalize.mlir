// RUN: ee-opt %s -canonicalize | FileCheck %s

// CHECK-LABEL: func.func @same(
// CHECK-SAME: %{{.*}}: tensor<?xi1>, %[[A:.*]]: tensor<?x8xf32>
func.func @same(%m: tensor<?xi1>, %a: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: return %[[A]]
  %0 = adaptive.select %m, %a, %a : tensor<?xi1>, tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @nested(
// CHECK-SAME: %[[M:.*]]: tensor<?xi1>, %[[A:.*]]: tensor<?x8xf32>, %[[B:.*]]: tensor<?x8xf32>, %[[C:.*]]: tensor<?x8xf32>, %[[D:.*]]: tensor<?x8xf32>
func.func @nested(%m: tensor<?xi1>, %a: tensor<?x8xf32>, %b: tensor<?x8xf32>, %c: tensor<?x8xf32>,
                  %d: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: %[[S:.*]] = adaptive.select %[[M]], %[[A]], %[[D]]
  // CHECK-NEXT: return %[[S]]
  %0 = adaptive.select %m, %a, %b : tensor<?xi1>, tensor<?x8xf32>
  %1 = adaptive.select %m, %c, %d : tensor<?xi1>, tensor<?x8xf32>
  %2 = adaptive.select %m, %0, %1 : tensor<?xi1>, tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @another_mask(
func.func @another_mask(%m: tensor<?xi1>, %n: tensor<?xi1>, %a: tensor<?x8xf32>, %b: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-COUNT-2: adaptive.select
  %0 = adaptive.select %n, %a, %b : tensor<?xi1>, tensor<?x8xf32>
  %1 = adaptive.select %m, %0, %a : tensor<?xi1>, tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @either(
// CHECK-SAME: %[[M:.*]]: tensor<?xi1>
func.func @either(%m: tensor<?xi1>) -> tensor<?xi1> {
  // CHECK-NEXT: return %[[M]]
  %0 = adaptive.or %m, %m : tensor<?xi1>
  return %0 : tensor<?xi1>
}

// A region without effects does not make `leave` dead.
// CHECK-LABEL: adaptive.model @kept
adaptive.model @kept max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x8xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %s = adaptive.criteria margin %h : tensor<?x8xf32> -> tensor<?xf32>
  %d = adaptive.decide %s index 0 depth 0 : tensor<?xf32> -> tensor<?xi1>
  // CHECK: adaptive.leave
  adaptive.leave %d index 0 depth 0 fill exact name "e0" : tensor<?xi1> {
    adaptive.yield %h : tensor<?x8xf32>
  }
  adaptive.yield %h : tensor<?x8xf32>
}
adaptive.weight @table : tensor<8x8xf32> source "m.onnx" tensor "t"

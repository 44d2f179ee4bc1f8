// RUN: ee-opt %s -allow-unregistered-dialect -canonicalize | FileCheck %s

adaptive.weight @a : tensor<4x4xf32> source "m.onnx" tensor "a"
adaptive.weight @b : tensor<4x4xf32> source "m.onnx" tensor "b"
adaptive.block @one {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
adaptive.block @other {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}

// CHECK-LABEL: func.func @no_layers(
// CHECK-SAME: %[[H:.*]]: tensor<?x4xf32>
func.func @no_layers(%h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK-NEXT: return %[[H]]
  %0 = adaptive.layers @one(%h) first 0 weights [] : tensor<?x4xf32>
  %1 = adaptive.recurse @one(%0) times 2 first 0 weights [] : tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// CHECK-LABEL: func.func @join(
// CHECK-SAME: %[[H:.*]]: tensor<?x4xf32>
func.func @join(%h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK-NEXT: %[[Y:.*]] = adaptive.layers @one(%[[H]]) first 3 weights {{\[}}[@a], [@b], [@a]] : tensor<?x4xf32>
  // CHECK-NEXT: return %[[Y]]
  %0 = adaptive.layers @one(%h) first 3 weights [[@a], [@b]] : tensor<?x4xf32>
  %1 = adaptive.layers @one(%0) first 5 weights [[@a]] : tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// The state between is used, as the criterion of an exit would.
// CHECK-LABEL: func.func @used_between(
func.func @used_between(%h: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK-COUNT-2: adaptive.layers
  %0 = adaptive.layers @one(%h) first 0 weights [[@a]] : tensor<?x4xf32>
  %1 = adaptive.layers @one(%0) first 1 weights [[@b]] : tensor<?x4xf32>
  return %0, %1 : tensor<?x4xf32>, tensor<?x4xf32>
}

// Another block, a gap in the indices, and kv_only on one side only.
// CHECK-LABEL: func.func @apart(
func.func @apart(%h: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK-COUNT-4: adaptive.layers
  %0 = adaptive.layers @one(%h) first 0 weights [[@a]] : tensor<?x4xf32>
  %1 = adaptive.layers @other(%0) first 1 weights [[@b]] : tensor<?x4xf32>
  %2 = adaptive.layers @other(%1) first 3 weights [[@b]] : tensor<?x4xf32>
  %3 = adaptive.layers @other(%2) first 4 kv_only weights [[@b]] : tensor<?x4xf32>
  return %3 : tensor<?x4xf32>
}

// Rows frozen in both halves, by one mask and one state, or not.
// CHECK-LABEL: func.func @frozen(
func.func @frozen(%h: tensor<?x4xf32>, %m: tensor<?xi1>, %n: tensor<?xi1>) -> tensor<?x4xf32> {
  // CHECK-NEXT: adaptive.layers @one({{.*}} first 0 weights {{\[}}[@a], [@b]] :
  // CHECK-NEXT: adaptive.layers @one({{.*}} first 2 weights {{\[}}[@a]] :
  %0 = adaptive.layers @one(%h) keep %m : tensor<?xi1>, %h : tensor<?x4xf32> first 0 weights [[@a]] : tensor<?x4xf32>
  %1 = adaptive.layers @one(%0) keep %m : tensor<?xi1>, %h : tensor<?x4xf32> first 1 weights [[@b]] : tensor<?x4xf32>
  %2 = adaptive.layers @one(%1) keep %n : tensor<?xi1>, %h : tensor<?x4xf32> first 2 weights [[@a]] : tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}

// Rows leave in between: layer 1 must not run for them.
// CHECK-LABEL: adaptive.model @leave
adaptive.model @leave max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %h, %d = "test.state"(%ids) : (tensor<?xi32>) -> (tensor<?x4xf32>, tensor<?xi1>)
  // CHECK: adaptive.layers @one(%{{.*}}) first 0
  // CHECK: adaptive.leave
  // CHECK: adaptive.layers @one(%{{.*}}) first 1
  %0 = adaptive.layers @one(%h) first 0 weights [[@a]] : tensor<?x4xf32>
  adaptive.leave %d index 0 depth 1 fill exact name "e" : tensor<?xi1> {
    adaptive.yield %h : tensor<?x4xf32>
  }
  %1 = adaptive.layers @one(%0) first 1 weights [[@b]] : tensor<?x4xf32>
  adaptive.yield %1 : tensor<?x4xf32>
}

// The dense reading: two exits become two decisions and two selects; under
// propagate the layers behind an exit keep its frozen rows.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-exits-masked)' | FileCheck %s --implicit-check-not=adaptive.exit --implicit-check-not=adaptive.leave

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.weight @one : tensor<1xf32> source "m.onnx" tensor "one"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}

// Exact: no layer keeps a row; the shallow exit overrules the deep one.
// CHECK-LABEL: adaptive.model @exact
// CHECK: %[[H1:.*]] = adaptive.layers @b(%{{[^)]*}}) first 0
// CHECK: %[[S1:.*]] = adaptive.probe %[[H1]],
// CHECK: %[[L1:.*]] = adaptive.linear %[[H1]] weights
// CHECK: %[[D1:.*]] = adaptive.decide %[[S1]] index 0 depth 1
// CHECK-NEXT: %[[H2:.*]] = adaptive.layers @b(%[[H1]]) first 1 weights
// CHECK: %[[S2:.*]] = adaptive.probe %[[H2]],
// CHECK: %[[L2:.*]] = adaptive.linear %[[H2]] weights
// CHECK: %[[D2:.*]] = adaptive.decide %[[S2]] index 1 depth 2
// CHECK-NEXT: %[[H3:.*]] = adaptive.layers @b(%[[H2]]) first 2 weights
// CHECK: %[[L3:.*]] = adaptive.linear %[[H3]] weights
// CHECK: %[[Y2:.*]] = adaptive.select %[[D2]], %[[L2]], %[[L3]]
// CHECK: %[[Y1:.*]] = adaptive.select %[[D1]], %[[L1]], %[[Y2]]
// CHECK: adaptive.mark_depth %[[D2]] depth 2
// CHECK-NEXT: adaptive.mark_depth %[[D1]] depth 1
// CHECK-NEXT: adaptive.yield %[[Y1]]
adaptive.model @exact max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %one = adaptive.use @one : tensor<1xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %s1 = adaptive.probe %h1, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %s2 = adaptive.probe %h2, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %h3 = adaptive.layers @b(%h2) first 2 weights [[@w]] : tensor<?x4xf32>
  %l3 = adaptive.linear %h3 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y2 = adaptive.exit %l2, %l3 score %s2 state %h2 index 1 depth 2 threshold 0.5 criterion probe fill exact name "e2" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y1 = adaptive.exit %l1, %y2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion probe fill exact name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y1 : tensor<?x8xf32>
}

// Propagate: the layers between the exits keep the rows of the first; those behind
// the second keep the rows of either, frozen where each row left first. The scores
// stand behind all layers here and move to where they are needed.
// CHECK-LABEL: adaptive.model @propagate
// CHECK: %[[H1:.*]] = adaptive.layers @b(%{{[^)]*}}) first 0 weights
// CHECK: %[[S1:.*]] = adaptive.probe %[[H1]],
// CHECK: %[[D1:.*]] = adaptive.decide %[[S1]] index 0 depth 1
// CHECK-NEXT: %[[H2:.*]] = adaptive.layers @b(%[[H1]]) keep %[[D1]] : tensor<?xi1>, %[[H1]] : tensor<?x4xf32> first 1 weights
// CHECK: %[[S2:.*]] = adaptive.probe %[[H2]],
// CHECK: %[[D2:.*]] = adaptive.decide %[[S2]] index 1 depth 2
// CHECK: %[[F:.*]] = adaptive.select %[[D1]], %[[H1]], %[[H2]]
// CHECK: %[[K:.*]] = adaptive.or %[[D1]], %[[D2]]
// CHECK: %[[H3:.*]] = adaptive.layers @b(%[[H2]]) keep %[[K]] : tensor<?xi1>, %[[F]] : tensor<?x4xf32> first 2 weights
// CHECK: %[[Y2:.*]] = adaptive.select %[[D2]],
// CHECK: %[[Y1:.*]] = adaptive.select %[[D1]], %{{.*}}, %[[Y2]]
// CHECK: adaptive.mark_depth %[[D2]] depth 2
// CHECK-NEXT: adaptive.mark_depth %[[D1]] depth 1
// CHECK-NEXT: adaptive.yield %[[Y1]]
adaptive.model @propagate max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %h3 = adaptive.layers @b(%h2) first 2 weights [[@w]] : tensor<?x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %one = adaptive.use @one : tensor<1xf32>
  %s1 = adaptive.probe %h1, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s2 = adaptive.probe %h2, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %l3 = adaptive.linear %h3 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y2 = adaptive.exit %l2, %l3 score %s2 state %h2 index 1 depth 2 threshold 0.5 criterion probe fill propagate name "e2" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y1 = adaptive.exit %l1, %y2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion probe fill propagate name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y1 : tensor<?x8xf32>
}

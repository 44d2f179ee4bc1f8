// Rows that decide to leave run only what their value needs.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-insert-sampling,adaptive-exits-grouped)' | FileCheck %s --implicit-check-not=adaptive.exit --implicit-check-not=adaptive.select --implicit-check-not=keep

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.weight @one : tensor<1xf32> source "m.onnx" tensor "one"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}

// A probe knows the score without the logits: norm, head and sampling of the exit
// move into the region, and none of them stays in front of the decision.
// CHECK-LABEL: adaptive.model @probe
// CHECK: %[[H1:.*]] = adaptive.layers @b(%{{[^)]*}}) first 0
// CHECK-NOT: adaptive.norm
// CHECK-NOT: adaptive.linear
// CHECK-NOT: adaptive.sample
// CHECK: %[[D:.*]] = adaptive.decide %{{.*}} index 0 depth 1
// CHECK-NEXT: adaptive.leave %[[D]] index 0 depth 1 fill exact name "e1"
// CHECK-NEXT: %[[N:.*]] = adaptive.norm rms %[[H1]],
// CHECK-NEXT: %[[L1:.*]] = adaptive.linear %[[N]] weights
// CHECK-NEXT: %[[T1:.*]] = adaptive.sample %[[L1]]
// CHECK-NEXT: adaptive.yield %[[T1]] : tensor<?xi32>
// CHECK-NEXT: }
// CHECK: %[[H2:.*]] = adaptive.layers @b(%[[H1]]) first 1
// CHECK-NOT: adaptive.norm
// CHECK: %[[L2:.*]] = adaptive.linear %[[H2]] weights
// CHECK-NEXT: %[[T2:.*]] = adaptive.sample %[[L2]]
// CHECK-NEXT: adaptive.yield %[[T2]]
adaptive.model @probe max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %one = adaptive.use @one : tensor<1xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %n1 = adaptive.norm rms %h1, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %l1 = adaptive.linear %n1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %s1 = adaptive.probe %h1, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y = adaptive.exit %l1, %l2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion probe fill exact name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x8xf32>
}

// A criterion of the logits needs them anyway: the token is sampled in front of
// the decision and alone crosses it. Under propagate the leave names the state.
// CHECK-LABEL: adaptive.model @max_prob
// CHECK: %[[H1:.*]] = adaptive.layers @b(%{{[^)]*}}) first 0
// CHECK: %[[L1:.*]] = adaptive.linear %[[H1]] weights
// CHECK: %[[S:.*]] = adaptive.criteria max_prob %[[L1]]
// CHECK: %[[D:.*]] = adaptive.decide %[[S]] index 0 depth 1
// CHECK: %[[T1:.*]] = adaptive.sample %[[L1]]
// CHECK: adaptive.leave %[[D]] index 0 depth 1 fill propagate state %[[H1]] : tensor<?x4xf32> name "e1" : tensor<?xi1> {
// CHECK-NEXT: adaptive.yield %[[T1]] : tensor<?xi32>
// CHECK-NEXT: }
// CHECK-NOT: %[[L1]]
// CHECK: adaptive.layers @b(%[[H1]]) first 1
// CHECK: adaptive.yield %{{.*}} : tensor<?xi32>
adaptive.model @max_prob max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %s1 = adaptive.criteria max_prob %l1 : tensor<?x8xf32> -> tensor<?xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y = adaptive.exit %l1, %l2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion max_prob fill propagate name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x8xf32>
}

// Two exits leave in the order of their indices, each in front of the layers that
// leaving rows skip.
// CHECK-LABEL: adaptive.model @two
// CHECK: adaptive.layers {{.*}}first 0
// CHECK: adaptive.leave %{{.*}} index 0 depth 1 {{.*}} name "e1"
// CHECK: adaptive.layers {{.*}}first 1
// CHECK: adaptive.leave %{{.*}} index 1 depth 2 {{.*}} name "e2"
// CHECK: %[[H3:.*]] = adaptive.layers {{.*}}first 2
// CHECK: %[[L3:.*]] = adaptive.linear %[[H3]]
// CHECK-NEXT: %[[T3:.*]] = adaptive.sample %[[L3]]
// CHECK-NEXT: adaptive.yield %[[T3]]
adaptive.model @two max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@w]] : tensor<?x4xf32>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@w]] : tensor<?x4xf32>
  %h3 = adaptive.layers @b(%h2) first 2 weights [[@w]] : tensor<?x4xf32>
  %c1 = adaptive.cosine %h0, %h1 : tensor<?x4xf32> -> tensor<?xf32>
  %c2 = adaptive.cosine %h1, %h2 : tensor<?x4xf32> -> tensor<?xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %l3 = adaptive.linear %h3 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y2 = adaptive.exit %l2, %l3 score %c2 state %h2 index 1 depth 2 threshold 0.5 criterion cosine fill exact name "e2" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y1 = adaptive.exit %l1, %y2 score %c1 state %h1 index 0 depth 1 threshold 0.5 criterion cosine fill exact name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y1 : tensor<?x8xf32>
}

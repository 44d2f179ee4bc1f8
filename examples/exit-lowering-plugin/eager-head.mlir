// RUN: %ee_opt --load-pass-plugin=%plugin %s --pass-pipeline='builtin.module(eager-head)' --split-input-file --verify-diagnostics | FileCheck %s

// What the head reads stands before the decision, the regions make logits and ids.
// CHECK-LABEL: adaptive.model @two_exits
// CHECK: %[[H1:.*]] = adaptive.layers @layer(%{{.*}}) first 0
// CHECK-DAG: %[[S1:.*]] = adaptive.probe %[[H1]]
// CHECK-DAG: %[[N1:.*]] = adaptive.norm rms %[[H1]]
// CHECK: %[[D1:.*]] = adaptive.decide %[[S1]] index 0 depth 1
// CHECK-NEXT: adaptive.leave %[[D1]] index 0 depth 1 fill exact name "e1"
// CHECK-NEXT: %[[E1:.*]] = adaptive.linear %[[N1]]
// CHECK-NEXT: %[[T1:.*]] = adaptive.sample %[[E1]]
// CHECK-NEXT: adaptive.yield %[[T1]]
// CHECK: %[[H2:.*]] = adaptive.layers @layer(%[[H1]]) first 1
// CHECK: adaptive.leave %{{.*}} index 1 depth 2 fill propagate state %[[H2]]
// CHECK-NEXT: adaptive.linear %[[H2]]
// CHECK: adaptive.layers @layer(%[[H2]]) first 2
// CHECK-NOT: adaptive.exit
adaptive.weight @table : tensor<320x64xf32> source "m.onnx" tensor "table"
adaptive.weight @probe : tensor<64xf32> source "m.onnx" tensor "probe"
adaptive.weight @bias : tensor<1xf32> source "m.onnx" tensor "bias"
adaptive.weight @w : tensor<64x64xf32> source "m.onnx" tensor "w"
adaptive.block @layer {
^bb0(%h: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  %y = adaptive.linear %h weights(%w) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>)
  adaptive.yield %y : tensor<?x64xf32>
}
adaptive.model @two_exits max_position 512 {
^bb0(%ids: tensor<?xi32>):
  %table = adaptive.use @table : tensor<320x64xf32>
  %probe = adaptive.use @probe : tensor<64xf32>
  %bias = adaptive.use @bias : tensor<1xf32>
  %h0 = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[@w]] : tensor<?x64xf32>
  %h2 = adaptive.layers @layer(%h1) first 1 weights [[@w]] : tensor<?x64xf32>
  %h3 = adaptive.layers @layer(%h2) first 2 weights [[@w]] : tensor<?x64xf32>
  %last = adaptive.linear %h3 weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  %scale = adaptive.use @probe : tensor<64xf32>
  %n1 = adaptive.norm rms %h1, %scale epsilon 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>
  %e1 = adaptive.linear %n1 weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  %e2 = adaptive.linear %h2 weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  %s2 = adaptive.probe %h2, %probe, %bias : tensor<?x64xf32>, tensor<64xf32>, tensor<1xf32> -> tensor<?xf32>
  %y2 = adaptive.exit %e2, %last score %s2 state %h2 index 1 depth 2 threshold 1.0 criterion probe fill propagate name "e2" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
  %s1 = adaptive.probe %h1, %probe, %bias : tensor<?x64xf32>, tensor<64xf32>, tensor<1xf32> -> tensor<?xf32>
  %y1 = adaptive.exit %e1, %y2 score %s1 state %h1 index 0 depth 1 threshold 1.0 criterion probe fill exact name "e1" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
  %t = adaptive.sample %y1 : tensor<?x320xf32> -> tensor<?xi32>
  adaptive.yield %t : tensor<?xi32>
}

// -----

adaptive.weight @table : tensor<320x64xf32> source "m.onnx" tensor "table"
adaptive.weight @w : tensor<64x64xf32> source "m.onnx" tensor "w"
adaptive.block @layer {
^bb0(%h: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  %y = adaptive.linear %h weights(%w) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>)
  adaptive.yield %y : tensor<?x64xf32>
}
adaptive.model @value_is_too_late max_position 512 {
^bb0(%ids: tensor<?xi32>):
  %table = adaptive.use @table : tensor<320x64xf32>
  %h0 = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  %h1 = adaptive.layers @layer(%h0) first 0 weights [[@w]] : tensor<?x64xf32>
  %h2 = adaptive.layers @layer(%h1) first 1 weights [[@w]] : tensor<?x64xf32>
  %e = adaptive.linear %h2 weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  %s = adaptive.cosine %h0, %h1 : tensor<?x64xf32> -> tensor<?xf32>
  // expected-error@+1 {{what a leaving row yields needs layers that it skips; exit at depth 1}}
  %y = adaptive.exit %e, %e score %s state %h1 index 0 depth 1 threshold 1.0 criterion cosine fill exact name "e1" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
  %t = adaptive.sample %y : tensor<?x320xf32> -> tensor<?xi32>
  adaptive.yield %t : tensor<?xi32>
}

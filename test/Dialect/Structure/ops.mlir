// RUN: ee-opt %s | ee-opt | FileCheck %s
// RUN: ee-opt %s --emit-bytecode | ee-opt | FileCheck %s
// RUN: ee-opt %s --mlir-print-op-generic | ee-opt | FileCheck %s

// CHECK: adaptive.weight @embed : tensor<320x64xf32> source "m.onnx" tensor "embed"{{$}}
adaptive.weight @embed : tensor<320x64xf32> source "m.onnx" tensor "embed"
// CHECK: adaptive.weight @a : tensor<64x64xf32> source "m.onnx" tensor "a" transposed{{$}}
adaptive.weight @a : tensor<64x64xf32> source "m.onnx" tensor "a" transposed
// CHECK: adaptive.weight @b : tensor<64x64xf32> source "m.onnx" tensor "b" hash "00ff"{{$}}
adaptive.weight @b : tensor<64x64xf32> source "m.onnx" tensor "b" hash "00ff"
// CHECK: adaptive.weight @one : tensor<2xf32> source "" tensor "" value dense<1.000000e+00> : tensor<2xf32>
adaptive.weight @one : tensor<2xf32> source "" tensor "" value dense<1.0> : tensor<2xf32>
// CHECK: adaptive.weight @q : tensor<64x64xf32> source "m.onnx" tensor "q" transposed format q4{{$}}
adaptive.weight @q : tensor<64x64xf32> source "m.onnx" tensor "q" transposed format q4
// CHECK: adaptive.table @cos "cos" [1.000000e+00, 1.000000e-02] : tensor<512x2xf32>
adaptive.table @cos "cos" [1.0, 0.01] : tensor<512x2xf32>
adaptive.table @sin "sin" [1.0, 0.01] : tensor<512x2xf32>

// CHECK-LABEL: adaptive.block @mlp {
// CHECK-NEXT: ^bb0(%[[H:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<64x64xf32>):
adaptive.block @mlp {
^bb0(%h: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  %y = adaptive.linear %h weights(%w) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>)
  adaptive.yield %y : tensor<?x64xf32>
}

// CHECK-LABEL: adaptive.model @decoder max_position 512 inputs [#adaptive.input<"input_ids" : input_ids>] {
// CHECK-NEXT: ^bb0(%[[IDS:.*]]: tensor<?xi32>):
adaptive.model @decoder max_position 512 inputs [#adaptive.input<"input_ids" : input_ids>] {
^bb0(%ids: tensor<?xi32>):
  // CHECK: %[[EMBED:.*]] = adaptive.use @embed : tensor<320x64xf32>
  %table = adaptive.use @embed : tensor<320x64xf32>
  // CHECK: adaptive.use @cos : tensor<512x2xf32>
  %cos = adaptive.use @cos : tensor<512x2xf32>
  %h0 = adaptive.embed %ids, %table : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  // CHECK: %[[H1:.*]] = adaptive.layers @mlp(%{{.*}}) first 0 weights {{\[}}[@a], [@b]] : tensor<?x64xf32>
  %h1 = adaptive.layers @mlp(%h0) first 0 weights [[@a], [@b]] : tensor<?x64xf32>
  // CHECK: %[[H2:.*]] = adaptive.layers @mlp(%[[H1]]) first 2 kv_only weights {{\[}}[@a]] : tensor<?x64xf32>
  %h2 = adaptive.layers @mlp(%h1) first 2 kv_only weights [[@a]] : tensor<?x64xf32>
  // CHECK: adaptive.recurse @mlp(%[[H2]]) times 3 first 3 weights {{\[}}[@a], [@b]] : tensor<?x64xf32>
  %h3 = adaptive.recurse @mlp(%h2) times 3 first 3 weights [[@a], [@b]] : tensor<?x64xf32>
  // CHECK: adaptive.layers @mlp(%{{.*}}) keep %{{.*}} : tensor<?xi1>, %{{.*}} : tensor<?x64xf32> first 9 weights {{\[}}[@a]] : tensor<?x64xf32>
  %s = adaptive.criteria margin %h3 : tensor<?x64xf32> -> tensor<?xf32>
  %d = adaptive.decide %s index 0 depth 9 : tensor<?xf32> -> tensor<?xi1>
  %h4 = adaptive.layers @mlp(%h3) keep %d : tensor<?xi1>, %h3 : tensor<?x64xf32> first 9 weights [[@a]] : tensor<?x64xf32>
  %logits = adaptive.linear %h4 weights(%table) : tensor<?x64xf32>, (tensor<320x64xf32>) -> (tensor<?x320xf32>)
  // CHECK: adaptive.yield %{{.*}} : tensor<?x320xf32>
  adaptive.yield %logits : tensor<?x320xf32>
}

// Once sampling is part of the model it yields ids.
// CHECK-LABEL: adaptive.model @ids max_position 1
adaptive.model @ids max_position 1 {
^bb0(%ids: tensor<?xi32>):
  adaptive.yield %ids : tensor<?xi32>
}

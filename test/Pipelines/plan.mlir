// The planning pipeline by name: exits are listed and lowered, sampling is inside,
// formats are chosen, and only stages are left.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-plan{exit-lowering=masked weights=q4})' | FileCheck %s --check-prefixes=CHECK,MASKED --implicit-check-not=adaptive.model --implicit-check-not='adaptive.exit %' --implicit-check-not=adaptive.leave
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-plan{exit-lowering=grouped weights=q4})' | FileCheck %s --check-prefixes=CHECK,GROUPED --implicit-check-not=adaptive.model --implicit-check-not='adaptive.exit %' --implicit-check-not=adaptive.select
// A lowering of one's own is named by its flag.
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-plan{exit-lowering=adaptive-exits-grouped weights=q4})' | FileCheck %s --check-prefixes=CHECK,GROUPED
// An unknown one stops the tool.
// RUN: not ee-opt %s --pass-pipeline='builtin.module(adaptive-plan{exit-lowering=nonsense})' 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// UNKNOWN: error: exit-lowering 'nonsense' is unknown; accepted are masked, grouped, or a registered pass

// CHECK: adaptive.exit_entry @e1 index 0 depth 1 criterion probe threshold 5.000000e-01 fill propagate
// CHECK: adaptive.weight @table {{.*}} format q8{{$}}
// CHECK: adaptive.weight @w {{.*}} format plain{{$}}
// CHECK: adaptive.weight @m {{.*}} format q4{{$}}
// MASKED: adaptive.kv_level @level0 layers 0 to 2 {{.*}} page 64 fill exact
// MASKED-NOT: adaptive.kv_level
// MASKED: adaptive.stage @trunk0
// MASKED: adaptive.layers {{.*}} keep %
// MASKED: adaptive.stage @head
// MASKED: adaptive.select
// MASKED: adaptive.sample
// MASKED-NOT: adaptive.stage
// GROUPED: adaptive.kv_level @level0 layers 0 to 1 {{.*}} fill exact
// GROUPED: adaptive.kv_level @level1 layers 1 to 2 {{.*}} fill propagate
// GROUPED: adaptive.stage @trunk0
// GROUPED: adaptive.stage @trunk1
// GROUPED: adaptive.stage @exit0
// GROUPED: adaptive.stage @head
// GROUPED: adaptive.stage @fill0_trunk1
// CHECK: adaptive.program

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.weight @m : tensor<4x4xf32> source "m.onnx" tensor "m" transposed
adaptive.weight @one : tensor<1xf32> source "m.onnx" tensor "one"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  %o = adaptive.linear %a weights(%w) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>)
  adaptive.yield %o : tensor<?x4xf32>
}
adaptive.model @main max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %w = adaptive.use @w : tensor<4xf32>
  %one = adaptive.use @one : tensor<1xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@m]] : tensor<?x4xf32>
  %s1 = adaptive.probe %h1, %w, %one : tensor<?x4xf32>, tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  %l1 = adaptive.linear %h1 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %h2 = adaptive.layers @b(%h1) first 1 weights [[@m]] : tensor<?x4xf32>
  %l2 = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y = adaptive.exit %l1, %l2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion probe fill propagate name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x8xf32>
}

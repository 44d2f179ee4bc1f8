// RUN: ee-opt %s --split-input-file --verify-diagnostics --pass-pipeline='builtin.module(adaptive-plan-kv-layout{page=16})'
// RUN: not ee-opt %s --split-input-file --pass-pipeline='builtin.module(adaptive-plan-kv-layout{page=24})' 2>&1 | FileCheck %s --check-prefix=P24
// RUN: not ee-opt %s --split-input-file --pass-pipeline='builtin.module(adaptive-plan-kv-layout{page=0})' 2>&1 | FileCheck %s --check-prefix=P0
// RUN: not ee-opt %s --split-input-file --pass-pipeline='builtin.module(adaptive-plan-kv-layout{page=-16})' 2>&1 | FileCheck %s --check-prefix=NEGATIVE

// P24: error: page must be a positive multiple of 16, but got 24
// P0: error: page must be a positive multiple of 16, but got
// NEGATIVE: error: page must be a positive multiple of 16, but got

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @late max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[]] : tensor<?x4xf32>
  %s = adaptive.cosine %h0, %h1 : tensor<?x4xf32> -> tensor<?xf32>
  %d = adaptive.decide %s index 0 depth 1 : tensor<?xf32> -> tensor<?xi1>
  %h2 = adaptive.layers @b(%h1) first 1 weights [[]] : tensor<?x4xf32>
  // expected-error@+1 {{at depth 1 stands behind 2 layers}}
  adaptive.leave %d index 0 depth 1 fill exact name "e1" : tensor<?xi1> {
    adaptive.yield %h1 : tensor<?x4xf32>
  }
  adaptive.yield %h2 : tensor<?x4xf32>
}

// -----

adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  %kv = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %a = adaptive.attend %h, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  adaptive.yield %a : tensor<?x4xf32>
}
adaptive.model @gap max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[]] : tensor<?x4xf32>
  // expected-error@+1 {{layers must be numbered without gaps: expected first 1, but got 2}}
  %h2 = adaptive.layers @b(%h1) first 2 weights [[]] : tensor<?x4xf32>
  adaptive.yield %h2 : tensor<?x4xf32>
}

// What passes of planning chose is printed where --remarks asks for it, and by
// mlir-opt's flags where passes run by name; nowhere else.
//
// RUN: ee-opt %s --emit=planned -o %t --quiet --remarks 2>&1 | FileCheck %s --check-prefix=GROUPED
// RUN: ee-opt %s --emit=planned -o %t --quiet --remarks --exit-lowering=masked 2>&1 | FileCheck %s --check-prefix=MASKED
// RUN: ee-opt %s --emit=planned -o %t --quiet 2>&1 | count 0
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-plan)' --remarks-filter='adaptive-.*' --remark-format=emitRemark 2>&1 | FileCheck %s --check-prefix=BY-NAME
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-plan)' 2>&1 | FileCheck %s --check-prefix=SILENT

// GROUPED: ee-opt: remark: adaptive-exits-grouped: exit 'e1' at depth 1: rows that leave compute their value behind the decision, alone, fill propagate{{$}}
// GROUPED: ee-opt: remark: adaptive-exits-grouped: exit 'e2' at depth 2: rows that leave take what was computed for their score before the decision, fill propagate{{$}}
// MASKED: ee-opt: remark: adaptive-exits-masked: exit 0 at depth 1: all rows run on, the value is selected, rows that left are frozen in later layers{{$}}
// MASKED: ee-opt: remark: adaptive-exits-masked: exit 1 at depth 2: all rows run on, the value is selected, rows that left are frozen in later layers{{$}}
// BY-NAME: remark: [Passed] adaptive-exits-grouped
// SILENT-NOT: remark

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
  %s2 = adaptive.criteria margin %l2 : tensor<?x8xf32> -> tensor<?xf32>
  %h3 = adaptive.layers @b(%h2) first 2 weights [[@m]] : tensor<?x4xf32>
  %l3 = adaptive.linear %h3 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  %y2 = adaptive.exit %l2, %l3 score %s2 state %h2 index 1 depth 2 threshold 1.0 criterion margin fill propagate name "e2" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  %y1 = adaptive.exit %l1, %y2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion probe fill propagate name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y1 : tensor<?x8xf32>
}

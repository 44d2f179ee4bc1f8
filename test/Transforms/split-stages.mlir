// Stages between decisions, one per way to end, and the program that joins them.
// The model goes; only residual rows, decisions and tokens cross a cut.
//
// RUN: split-file %s %t
// RUN: ee-opt %t/exact.mlir --pass-pipeline='builtin.module(adaptive-record-exits,adaptive-insert-sampling,adaptive-exits-grouped,adaptive-plan-kv-layout,adaptive-split-stages)' | FileCheck %s --check-prefix=EXACT --implicit-check-not=adaptive.model --implicit-check-not=adaptive.leave
// RUN: ee-opt %t/propagate.mlir --pass-pipeline='builtin.module(adaptive-record-exits,adaptive-insert-sampling,adaptive-exits-grouped,adaptive-plan-kv-layout,adaptive-split-stages)' | FileCheck %s --check-prefix=FILL --implicit-check-not=adaptive.model --implicit-check-not=adaptive.leave
// RUN: ee-opt %t/exact.mlir --pass-pipeline='builtin.module(adaptive-record-exits,adaptive-insert-sampling,adaptive-exits-masked,adaptive-plan-kv-layout,adaptive-split-stages)' | FileCheck %s --check-prefix=MASKED --implicit-check-not=adaptive.model

// EXACT: adaptive.stage @trunk0 reads ["token"] writes ["[[C:c[0-9]+]]", "decision"] level @level0 depth 1 exit 0 {
// EXACT: %[[H1:.*]] = adaptive.layers {{.*}} first 0
// EXACT-NOT: adaptive.linear
// EXACT: %[[D:.*]] = adaptive.decide
// EXACT: adaptive.yield %[[H1]], %[[D]] :
// EXACT: adaptive.stage @trunk1 reads ["[[C]]"] writes ["[[E:c[0-9]+]]"] level @level1 depth 2 {
// EXACT-NEXT: ^bb0(%[[A:.*]]: tensor<?x4xf32>):
// EXACT: adaptive.layers @b(%[[A]]) first 1
// EXACT-NOT: adaptive.linear
// EXACT: adaptive.stage @exit0 reads ["[[C]]"] writes ["token"] depth 1 max_rows 32 {
// EXACT-NEXT: ^bb0(%[[X:.*]]: tensor<?x4xf32>):
// EXACT: %[[L:.*]] = adaptive.linear %[[X]]
// EXACT-NEXT: %[[T:.*]] = adaptive.sample %[[L]]
// EXACT-NEXT: adaptive.yield %[[T]]
// EXACT: adaptive.stage @head reads ["[[E]]"] writes ["token"] depth 2 max_rows 32 {
// EXACT: adaptive.linear
// EXACT: adaptive.sample
// EXACT-NOT: adaptive.stage
// Rows that owe entries run the layers they skipped: owes is stay.
// EXACT: adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
// EXACT-NEXT: %embed = adaptive.node.embed next %trunk0
// EXACT-NEXT: %trunk0 = adaptive.node.run @trunk0 next %at_e1
// EXACT-NEXT: %at_e1 = adaptive.node.branch @e1 yes %exit0 no %trunk1 owes %trunk1
// EXACT-NEXT: %exit0 = adaptive.node.run @exit0 next %emit
// EXACT-NEXT: %trunk1 = adaptive.node.run @trunk1 next %emits
// EXACT-NEXT: %emits = adaptive.node.filter emits yes %head no %end
// EXACT-NEXT: %head = adaptive.node.run @head next %emit
// EXACT-NEXT: %emit = adaptive.node.emit next %embed
// EXACT-NEXT: %end = adaptive.node.end

// Under propagate a stage of its own appends the entries from the exit's state,
// which nothing overwrites before.
// FILL: adaptive.stage @trunk0 reads ["token"] writes ["[[C:c[0-9]+]]", "decision"] level @level0
// FILL: adaptive.stage @fill0_trunk1 reads ["[[C]]"] writes [] level @level1 depth 1 {
// FILL-NEXT: ^bb0(%[[A:.*]]: tensor<?x4xf32>):
// FILL-NEXT: adaptive.layers @b(%[[A]]) first 1 kv_only
// FILL-NEXT: adaptive.yield
// FILL: adaptive.program
// FILL: %at_e1 = adaptive.node.branch @e1 yes %exit0 no %trunk1 owes %fill0_trunk1
// FILL-NEXT: %exit0 = adaptive.node.run @exit0 next %emit
// FILL-NEXT: %fill0_trunk1 = adaptive.node.run @fill0_trunk1 next %end
// FILL-NEXT: %trunk1 = adaptive.node.run @trunk1 next %emits

// Without a leave there is one trunk; what the head alone needs sinks into it, the
// exit's logits too.
// MASKED: adaptive.stage @trunk0 reads ["token"] writes [{{.*}}] level @level0 depth 2 {
// MASKED: adaptive.layers {{.*}} first 0
// MASKED-NOT: adaptive.linear
// MASKED: adaptive.layers {{.*}} first 1
// MASKED-NOT: tensor<?x8xf32>
// MASKED: adaptive.stage @head reads [{{.*}}] writes ["token"] depth 2 max_rows 32 {
// MASKED: %[[L1:.*]] = adaptive.linear
// MASKED: %[[L2:.*]] = adaptive.linear
// MASKED: %[[Y:.*]] = adaptive.select %{{.*}}, %[[L1]], %[[L2]]
// MASKED: %[[T:.*]] = adaptive.sample %[[Y]]
// MASKED: adaptive.mark_depth
// MASKED: adaptive.yield %[[T]]
// MASKED-NOT: adaptive.stage
// MASKED: adaptive.program
// MASKED-NOT: node.branch
// MASKED: %emits = adaptive.node.filter emits yes %head no %end
// MASKED-NEXT: %head = adaptive.node.run @head next %emit

//--- exact.mlir
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
  %y = adaptive.exit %l1, %l2 score %s1 state %h1 index 0 depth 1 threshold 0.5 criterion probe fill exact name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  adaptive.yield %y : tensor<?x8xf32>
}

//--- propagate.mlir
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

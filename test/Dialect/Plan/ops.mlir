// RUN: ee-opt %s | ee-opt | FileCheck %s
// RUN: ee-opt %s --emit-bytecode | ee-opt | FileCheck %s
// RUN: ee-opt %s --mlir-print-op-generic | ee-opt | FileCheck %s

// CHECK: adaptive.kv_level @level0 layers 0 to 2 heads 3 head_dim 64 page 64 fill exact
adaptive.kv_level @level0 layers 0 to 2 heads 3 head_dim 64 page 64 fill exact
// CHECK: adaptive.kv_level @level1 layers 2 to 30 heads 3 head_dim 64 page 64 fill propagate
adaptive.kv_level @level1 layers 2 to 30 heads 3 head_dim 64 page 64 fill propagate

// CHECK-LABEL: adaptive.stage @first reads ["token"] writes ["state", "decision", "score"] level @level0 depth 2 exit 0 {
// CHECK-NEXT: ^bb0(%{{.*}}: tensor<?xi32>):
adaptive.stage @first reads ["token"] writes ["state", "decision", "score"] level @level0 depth 2 exit 0 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x8xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %s = adaptive.criteria margin %h : tensor<?x8xf32> -> tensor<?xf32>
  %d = adaptive.decide %s index 0 depth 2 : tensor<?xf32> -> tensor<?xi1>
  adaptive.yield %h, %d, %s : tensor<?x8xf32>, tensor<?xi1>, tensor<?xf32>
}
adaptive.weight @table : tensor<8x8xf32> source "m.onnx" tensor "t"

// CHECK-LABEL: adaptive.stage @draw reads ["state"] writes ["token"] depth 2 max_rows 32 {
adaptive.stage @draw reads ["state"] writes ["token"] depth 2 max_rows 32 {
^bb0(%l: tensor<?x8xf32>):
  %t = adaptive.sample %l : tensor<?x8xf32> -> tensor<?xi32>
  adaptive.yield %t : tensor<?xi32>
}

// CHECK: adaptive.exit_entry @e2 index 0 depth 2 criterion margin threshold 1.000000e+00 fill exact
adaptive.exit_entry @e2 index 0 depth 2 criterion margin threshold 1.0 fill exact

// CHECK-LABEL: func.func @copy(
func.func @copy(%h: tensor<?x8xf32>, %d: tensor<?xi1>) {
  // CHECK-NEXT: adaptive.copy %{{.*}} : tensor<?x8xf32>
  %0 = adaptive.copy %h : tensor<?x8xf32>
  // CHECK-NEXT: adaptive.copy %{{.*}} : tensor<?xi1>
  %1 = adaptive.copy %d : tensor<?xi1>
  return
}

// CHECK-LABEL: adaptive.program vocab 8 hidden 4 layers 30 max_position 64 inputs [#adaptive.input<"ids" : input_ids>, #adaptive.input<"mask" : attention_mask>] {
adaptive.program vocab 8 hidden 4 layers 30 max_position 64 inputs [#adaptive.input<"ids" : input_ids>, #adaptive.input<"mask" : attention_mask>] {
  // CHECK-NEXT: %embed = adaptive.node.embed next %first
  %0 = adaptive.node.embed next %1
  // CHECK-NEXT: %first = adaptive.node.run @first next %at_e2
  %1 = adaptive.node.run @first next %2
  // CHECK-NEXT: %at_e2 = adaptive.node.branch @e2 yes %draw no %emits owes %end
  %2 = adaptive.node.branch @e2 yes %4 no %3 owes %6
  // CHECK-NEXT: %emits = adaptive.node.filter emits yes %draw no %end
  %3 = adaptive.node.filter emits yes %4 no %6
  // CHECK-NEXT: %draw = adaptive.node.run @draw next %emit
  %4 = adaptive.node.run @draw next %5
  // CHECK-NEXT: %emit = adaptive.node.emit next %embed
  %5 = adaptive.node.emit next %0
  // CHECK-NEXT: %end = adaptive.node.end
  %6 = adaptive.node.end
}

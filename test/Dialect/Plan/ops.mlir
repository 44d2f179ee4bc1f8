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

// CHECK-LABEL: adaptive.stage @draw reads ["state"] writes ["token"] depth 2 {
adaptive.stage @draw reads ["state"] writes ["token"] depth 2 {
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

// CHECK: adaptive.program [{kind = "embed", next = 1 : i64}, {kind = "stage", next = 2 : i64, stage = @first}, {exit = 0 : i64, kind = "decide", leave = 3 : i64, stay = 3 : i64}, {kind = "sample", next = 4 : i64, stage = @draw}, {kind = "emit", next = 0 : i64}] facts {depth = 30 : i64}
adaptive.program [
  {kind = "embed", next = 1}, {kind = "stage", stage = @first, next = 2},
  {kind = "decide", exit = 0, leave = 3, stay = 3},
  {kind = "sample", stage = @draw, next = 4}, {kind = "emit", next = 0}]
  facts {depth = 30}

// RUN: ee-opt %s | ee-opt | FileCheck %s
// RUN: ee-opt %s --emit-bytecode | ee-opt | FileCheck %s
// RUN: ee-opt %s --mlir-print-op-generic | ee-opt | FileCheck %s

// CHECK-LABEL: func.func @scores(
// CHECK-SAME: %[[L:.*]]: tensor<?x320xf32>, %[[H:.*]]: tensor<?x64xf32>, %[[P:.*]]: tensor<?x64xf32>
func.func @scores(%l: tensor<?x320xf32>, %h: tensor<?x64xf32>, %p: tensor<?x64xf32>,
                  %w: tensor<64xf32>, %w2: tensor<1x64xf32>, %b: tensor<1xf32>) {
  // CHECK-NEXT: adaptive.criteria max_prob %[[L]] : tensor<?x320xf32> -> tensor<?xf32>
  %0 = adaptive.criteria max_prob %l : tensor<?x320xf32> -> tensor<?xf32>
  // CHECK-NEXT: adaptive.criteria margin %[[L]]
  %1 = adaptive.criteria margin %l : tensor<?x320xf32> -> tensor<?xf32>
  // CHECK-NEXT: adaptive.criteria entropy %[[L]]
  %2 = adaptive.criteria entropy %l : tensor<?x320xf32> -> tensor<?xf32>
  // CHECK-NEXT: adaptive.probe %[[H]], %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<64xf32>, tensor<1xf32> -> tensor<?xf32>
  %3 = adaptive.probe %h, %w, %b : tensor<?x64xf32>, tensor<64xf32>, tensor<1xf32> -> tensor<?xf32>
  // CHECK-NEXT: adaptive.probe %[[H]], %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<1x64xf32>, tensor<1xf32> -> tensor<?xf32>
  %4 = adaptive.probe %h, %w2, %b : tensor<?x64xf32>, tensor<1x64xf32>, tensor<1xf32> -> tensor<?xf32>
  // CHECK-NEXT: adaptive.cosine %[[P]], %[[H]] : tensor<?x64xf32> -> tensor<?xf32>
  %5 = adaptive.cosine %p, %h : tensor<?x64xf32> -> tensor<?xf32>
  return
}

// CHECK-LABEL: func.func @exit(
// CHECK-SAME: %[[E:.*]]: tensor<?x320xf32>, %[[R:.*]]: tensor<?x320xf32>, %[[S:.*]]: tensor<?xf32>, %[[H:.*]]: tensor<?x64xf32>
func.func @exit(%e: tensor<?x320xf32>, %r: tensor<?x320xf32>, %s: tensor<?xf32>, %h: tensor<?x64xf32>) -> tensor<?x320xf32> {
  // CHECK-NEXT: adaptive.exit %[[E]], %[[R]] score %[[S]] state %[[H]] index 0 depth 2 threshold 9.000000e-01 criterion probe fill exact name "e2" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
  %0 = adaptive.exit %e, %r score %s state %h index 0 depth 2 threshold 0.9 criterion probe fill exact name "e2" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
  // CHECK-NEXT: adaptive.exit {{.*}} index 31 depth 0 threshold -1.500000e+00 criterion cosine fill propagate name "e0"
  %1 = adaptive.exit %e, %0 score %s state %h index 31 depth 0 threshold -1.5 criterion cosine fill propagate name "e0" : tensor<?x320xf32>, tensor<?xf32>, tensor<?x64xf32>
  // CHECK-NEXT: %[[D:.*]] = adaptive.decide %[[S]] index 0 depth 2 : tensor<?xf32> -> tensor<?xi1>
  %d = adaptive.decide %s index 0 depth 2 : tensor<?xf32> -> tensor<?xi1>
  // CHECK-NEXT: adaptive.select %[[D]], %[[E]], %[[R]] : tensor<?xi1>, tensor<?x320xf32>
  %2 = adaptive.select %d, %e, %r : tensor<?xi1>, tensor<?x320xf32>
  // CHECK-NEXT: %[[O:.*]] = adaptive.or %[[D]], %[[D]] : tensor<?xi1>
  %o = adaptive.or %d, %d : tensor<?xi1>
  // CHECK-NEXT: adaptive.mark_depth %[[O]] depth 2 : tensor<?xi1>
  adaptive.mark_depth %o depth 2 : tensor<?xi1>
  return %2 : tensor<?x320xf32>
}

// CHECK-LABEL: adaptive.model @leave
adaptive.model @leave max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x8xf32>
  %h = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x8xf32> -> tensor<?x8xf32>
  %s = adaptive.criteria margin %h : tensor<?x8xf32> -> tensor<?xf32>
  %d = adaptive.decide %s index 0 depth 0 : tensor<?xf32> -> tensor<?xi1>
  // CHECK: adaptive.leave %{{.*}} index 0 depth 0 fill propagate state %{{.*}} : tensor<?x8xf32> name "e0" : tensor<?xi1> {
  // CHECK-NEXT: adaptive.yield
  adaptive.leave %d index 0 depth 0 fill propagate state %h : tensor<?x8xf32> name "e0" : tensor<?xi1> {
    adaptive.yield %h : tensor<?x8xf32>
  }
  // CHECK: adaptive.leave %{{.*}} index 1 depth 0 fill exact name "e1" : tensor<?xi1> {
  adaptive.leave %d index 1 depth 0 fill exact name "e1" : tensor<?xi1> {
    adaptive.yield %h : tensor<?x8xf32>
  }
  adaptive.yield %h : tensor<?x8xf32>
}
adaptive.weight @table : tensor<8x8xf32> source "m.onnx" tensor "t"

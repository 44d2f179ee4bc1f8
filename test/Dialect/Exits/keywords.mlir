// The keywords of enums read as words: exactly one blank around each.
// RUN: ee-opt %s | FileCheck %s --match-full-lines --strict-whitespace

//      CHECK:module {
module {
  //      CHECK:  func.func @f(%arg0: tensor<?x8xf32>, %arg1: tensor<8xf32>) -> tensor<?xf32> {
  func.func @f(%l: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?xf32> {
    // CHECK-NEXT:    %0 = adaptive.norm rms %arg0, %arg1 epsilon 1.000000e+00 : tensor<?x8xf32>, tensor<8xf32>
    %n = adaptive.norm rms %l, %w epsilon 1.0 : tensor<?x8xf32>, tensor<8xf32>
    // CHECK-NEXT:    %1 = adaptive.criteria max_prob %0 : tensor<?x8xf32> -> tensor<?xf32>
    %s = adaptive.criteria max_prob %n : tensor<?x8xf32> -> tensor<?xf32>
    // CHECK-NEXT:    %2 = adaptive.exit %arg0, %0 score %1 state %arg0 index 0 depth 1 threshold 0.000000e+00 criterion max_prob fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
    %e = adaptive.exit %l, %n score %s state %l index 0 depth 1 threshold 0.0 criterion max_prob fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
    // CHECK-NEXT:    return %1 : tensor<?xf32>
    return %s : tensor<?xf32>
  }
  //      CHECK:  adaptive.kv_level @level layers 0 to 2 heads 1 head_dim 4 page 16 fill propagate
  adaptive.kv_level @level layers 0 to 2 heads 1 head_dim 4 page 16 fill propagate
}

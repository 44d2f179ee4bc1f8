// Products with weights, and elementwise regions.
//
// RUN: ee-opt %s -adaptive-to-linalg | FileCheck %s --implicit-check-not='= adaptive.'

// CHECK-DAG: #[[X:.*]] = affine_map<(d0, d1, d2) -> (d0, d2)>
// CHECK-DAG: #[[W:.*]] = affine_map<(d0, d1, d2) -> (d1, d2)>
// CHECK-DAG: #[[Y:.*]] = affine_map<(d0, d1, d2) -> (d0, d1)>

// CHECK-LABEL: func.func @linear(
// CHECK-SAME:    %[[A:.*]]: tensor<?x4xf32>, %[[B:.*]]: tensor<8x4xf32>, %[[C:.*]]: tensor<2x4xbf16>)
// CHECK:         linalg.generic {indexing_maps = [#[[X]], #[[W]], #[[Y]]], iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[A]], %[[B]] :
// CHECK:           arith.mulf {{.*}} : f64
// CHECK:           arith.addf {{.*}} : f64
// CHECK:         linalg.generic
// CHECK:           arith.truncf
// CHECK:         linalg.generic {{.*}} ins(%[[A]], %[[C]] :
// CHECK:           arith.extf {{.*}} : bf16 to f64
func.func @linear(%x: tensor<?x4xf32>, %v: tensor<8x4xf32>, %w: tensor<2x4xbf16>) -> (tensor<?x8xf32>, tensor<?x2xf32>) {
  %y, %z = adaptive.linear %x weights(%v, %w) : tensor<?x4xf32>, (tensor<8x4xf32>, tensor<2x4xbf16>) -> (tensor<?x8xf32>, tensor<?x2xf32>)
  return %y, %z : tensor<?x8xf32>, tensor<?x2xf32>
}

// The epilogue sees rounded sums, rows, and a vector that is the same for all.
// CHECK-LABEL: func.func @epilogue(
// CHECK-SAME:    %[[R:[^:]*]]: tensor<?x8xf32>, %[[V:[^:]*]]: tensor<8xf32>)
// CHECK-COUNT-2: "reduction"
// CHECK:         linalg.generic {{.*}} ins(%{{.*}}, %{{.*}}, %[[R]], %[[V]] :
// CHECK:         ^bb0(%[[G:.*]]: f32, %[[U:.*]]: f32, %[[E:.*]]: f32, %[[B:.*]]: f32, %{{.*}}: f32):
// CHECK:           %[[P:.*]] = arith.mulf %[[G]], %[[U]]
// CHECK:           %[[S:.*]] = arith.addf %[[P]], %[[E]]
// CHECK:           %[[T:.*]] = arith.addf %[[S]], %[[B]]
// CHECK:           linalg.yield %[[T]]
func.func @epilogue(%x: tensor<?x4xf32>, %v: tensor<8x4xf32>, %w: tensor<8x4xf32>, %r: tensor<?x8xf32>, %b: tensor<8xf32>) -> tensor<?x8xf32> {
  %y = adaptive.linear %x weights(%v, %w) extras(%r, %b : tensor<?x8xf32>, tensor<8xf32>) : tensor<?x4xf32>, (tensor<8x4xf32>, tensor<8x4xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%g: f32, %u: f32, %e: f32, %c: f32):
    %p = arith.mulf %g, %u : f32
    %s = arith.addf %p, %e : f32
    %t = arith.addf %s, %c : f32
    adaptive.yield %t : f32
  }
  return %y : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @map(
// CHECK:         linalg.generic
// CHECK:           math.tanh
func.func @map(%b: tensor<4xf32>, %x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = adaptive.map(%b, %x) : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> {
  ^bb0(%c: f32, %e: f32):
    %s = arith.addf %c, %e : f32
    %t = math.tanh %s : f32
    adaptive.yield %t : f32
  }
  return %y : tensor<?x4xf32>
}

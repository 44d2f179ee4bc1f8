// Ops on single rows.
//
// RUN: ee-opt %s -adaptive-to-linalg | FileCheck %s --implicit-check-not='= adaptive.'

// Ids outside of the table read row 0.
// CHECK-LABEL: func.func @embed(
// CHECK-SAME:    %[[IDS:.*]]: tensor<?xi32>, %[[TABLE:.*]]: tensor<8x4xf32>) -> tensor<?x4xf32>
// CHECK:         %[[Y:.*]] = linalg.generic {{.*}} ins(%[[IDS]] : tensor<?xi32>)
// CHECK:         ^bb0(%[[ID:.*]]: i32,
// CHECK:           %[[AT:.*]] = arith.index_cast %[[ID]]
// CHECK:           %[[IN:.*]] = arith.cmpi ult, %[[AT]], %{{.*}} : index
// CHECK:           %[[ROW:.*]] = arith.select %[[IN]], %[[AT]], %{{.*}} : index
// CHECK:           tensor.extract %[[TABLE]][%[[ROW]], %{{.*}}]
// CHECK:         return %[[Y]]
func.func @embed(%ids: tensor<?xi32>, %table: tensor<8x4xf32>) -> tensor<?x4xf32> {
  %y = adaptive.embed %ids, %table : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// Groups of a row are normalised each; sums run in f64. Weights of any float
// type become f32 where they are read.
// CHECK-LABEL: func.func @rms(
// CHECK:         %[[X:.*]] = tensor.expand_shape %{{.*}} {{\[}}[0], [1, 2]] output_shape {{.*}} : tensor<?x12xf32> into tensor<?x3x4xf32>
// CHECK:         linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[X]] : tensor<?x3x4xf32>) outs(%{{.*}} : tensor<?x3xf64>)
// CHECK:           arith.mulf %[[V:.*]], %[[V]] : f64
// CHECK:         linalg.generic {{.*}} outs(%{{.*}} : tensor<?x3x4xf32>)
// CHECK:           math.sqrt {{.*}} : f64
// CHECK:           arith.extf %{{.*}} : f16 to f64
// CHECK:           arith.truncf %{{.*}} : f64 to f32
// CHECK:         tensor.collapse_shape
func.func @rms(%x: tensor<?x12xf32>, %w: tensor<4xf16>) -> tensor<?x12xf32> {
  %y = adaptive.norm rms %x, %w epsilon 1.0e-5 : tensor<?x12xf32>, tensor<4xf16>
  return %y : tensor<?x12xf32>
}

// CHECK-LABEL: func.func @layer(
// CHECK:         linalg.generic {{.*}}"reduction"]
// CHECK:         linalg.generic {{.*}}"reduction"]
// CHECK:           arith.subf
// CHECK:         linalg.generic
// CHECK:           arith.subf
// CHECK:           arith.divf
// CHECK:           arith.mulf
// CHECK:           arith.addf
func.func @layer(%x: tensor<?x4xf32>, %w: tensor<4xf32>, %b: tensor<4xf32>) -> tensor<?x4xf32> {
  %y = adaptive.norm layer %x, %w, %b : tensor<4xf32> epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  return %y : tensor<?x4xf32>
}

// The position is a column: an argument that the op does not name.
// CHECK-LABEL: func.func @rope(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x8xf32>, %[[C:[^:]*]]: tensor<9x1xf32>, %[[S:[^:]*]]: tensor<9x1xf32>,
// CHECK-SAME:    %[[P:[^:]*]]: tensor<?xi32> {adaptive.column = "position"}) -> tensor<?x8xf32>
// CHECK:         linalg.generic {{.*}} ins(%[[X]], %[[P]] :
// CHECK-DAG:       tensor.extract %[[C]]
// CHECK-DAG:       tensor.extract %[[S]]
// CHECK-DAG:       tensor.extract %[[X]]
func.func @rope(%x: tensor<?x8xf32>, %c: tensor<9x1xf32>, %s: tensor<9x1xf32>) -> tensor<?x8xf32> {
  %y = adaptive.rope %x, %c, %s head_dim 4 : tensor<?x8xf32>, tensor<9x1xf32>
  return %y : tensor<?x8xf32>
}

// One column, however many ops read it.
// CHECK-LABEL: func.func @ropes(
// CHECK-SAME:    {adaptive.column = "position"})
// CHECK-COUNT-2: linalg.generic
func.func @ropes(%x: tensor<?x8xf32>, %c: tensor<9x1xf32>, %s: tensor<9x1xf32>) -> tensor<?x8xf32> {
  %y = adaptive.rope %x, %c, %s head_dim 4 interleaved : tensor<?x8xf32>, tensor<9x1xf32>
  %z = adaptive.rope %y, %c, %s head_dim 8 : tensor<?x8xf32>, tensor<9x1xf32>
  return %z : tensor<?x8xf32>
}

// Temperature 0: the first of the largest.
// CHECK-LABEL: func.func @sample(
// CHECK:         %[[R:.*]]:2 = linalg.generic {{.*}} outs(%{{.*}}, %{{.*}} : tensor<?xf32>, tensor<?xi32>)
// CHECK:           arith.cmpf ogt
// CHECK:         return %[[R]]#1
func.func @sample(%z: tensor<?x5xf32>) -> tensor<?xi32> {
  %t = adaptive.sample %z : tensor<?x5xf32> -> tensor<?xi32>
  return %t : tensor<?xi32>
}

// CHECK-LABEL: func.func @copy(
// CHECK:         linalg.generic {{.*}} outs(%{{.*}} : tensor<?xi1>)
func.func @copy(%m: tensor<?xi1>) -> tensor<?xi1> {
  %c = adaptive.copy %m : tensor<?xi1>
  return %c : tensor<?xi1>
}

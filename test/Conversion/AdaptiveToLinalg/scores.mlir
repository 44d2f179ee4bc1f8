// How sure an exit is.
//
// RUN: ee-opt %s -adaptive-to-linalg | FileCheck %s --implicit-check-not='= adaptive.'

// The largest logit is found first and left out of the sums: what is left of a
// probability near 1 keeps its precision.
// CHECK-LABEL: func.func @max_prob(
// CHECK:         %[[TOP:.*]]:2 = linalg.generic
// CHECK:           arith.cmpf ogt
// CHECK:         linalg.generic {{.*}} ins(%{{.*}}, %[[TOP]]#0, %[[TOP]]#1 :
// CHECK:           math.exp
// CHECK:         linalg.generic
// CHECK:           %[[L:.*]] = math.log
// CHECK:           arith.negf %[[L]]
func.func @max_prob(%z: tensor<?x5xf32>) -> tensor<?xf32> {
  %s = adaptive.criteria max_prob %z : tensor<?x5xf32> -> tensor<?xf32>
  return %s : tensor<?xf32>
}

// CHECK-LABEL: func.func @margin(
// CHECK:           arith.maximumf
// CHECK:           math.expm1
// CHECK-COUNT-2:   math.log
func.func @margin(%z: tensor<?x5xf32>) -> tensor<?xf32> {
  %s = adaptive.criteria margin %z : tensor<?x5xf32> -> tensor<?xf32>
  return %s : tensor<?xf32>
}

// CHECK-LABEL: func.func @entropy(
// CHECK:           math.log1p
// CHECK-COUNT-2:   math.log
func.func @entropy(%z: tensor<?x5xf32>) -> tensor<?xf32> {
  %s = adaptive.criteria entropy %z : tensor<?x5xf32> -> tensor<?xf32>
  return %s : tensor<?xf32>
}

// CHECK-LABEL: func.func @probe(
// CHECK:         tensor.collapse_shape %{{.*}} : tensor<1x4xf32> into tensor<4xf32>
// CHECK:         linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]
// CHECK:         tensor.extract
func.func @probe(%x: tensor<?x4xf32>, %w: tensor<1x4xf32>, %b: tensor<1xf32>) -> tensor<?xf32> {
  %s = adaptive.probe %x, %w, %b : tensor<?x4xf32>, tensor<1x4xf32>, tensor<1xf32> -> tensor<?xf32>
  return %s : tensor<?xf32>
}

// CHECK-LABEL: func.func @cosine(
// CHECK-COUNT-3: "reduction"
// CHECK:         math.sqrt {{.*}} : f64
// CHECK:         math.log {{.*}} : f32
func.func @cosine(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<?xf32> {
  %s = adaptive.cosine %x, %y : tensor<?x4xf32> -> tensor<?xf32>
  return %s : tensor<?xf32>
}

// RUN: ee-opt %s -adaptive-simplify-onnx | FileCheck %s

// Transposes of weights become weights, shape arithmetic and nodes that change
// nothing go, calls of local functions are replaced by their bodies.

// CHECK:      adaptive.weight @w : tensor<8x4xf32> source "m.onnx" tensor "w"
// CHECK-NEXT: adaptive.weight @w.T : tensor<4x8xf32> source "m.onnx" tensor "w" transposed
adaptive.weight @w : tensor<8x4xf32> source "m.onnx" tensor "w"

// CHECK-LABEL: func.func @main
// CHECK-SAME:  (%[[X:.*]]: tensor<?x?x8xf32>
// CHECK-DAG:   %[[TWO:.*]] = onnx.constant dense<2.000000e+00> : tensor<f32>
// CHECK-DAG:   %[[W:.*]] = adaptive.use @w.T : tensor<4x8xf32>
// CHECK-DAG:   %[[Y:.*]] = onnx.node "Relu" version 18(%[[X]])
// CHECK:       %[[D:.*]] = onnx.node "Mul" version 18(%[[Y]], %[[TWO]])
// CHECK:       %[[Z:.*]] = onnx.node "Gemm" version 18(%[[D]], %[[W]])
// CHECK:       return %[[Z]], %[[Y]]
func.func @main(%x: tensor<?x?x8xf32> {onnx.name = "x", onnx.dims = ["b", "s", ""]}) -> (tensor<?x?x4xf32>, tensor<?x?x8xf32>) {
  %w = adaptive.use @w : tensor<8x4xf32>
  %zero = onnx.constant dense<0> : tensor<i64> : tensor<i64>
  %i0 = onnx.constant dense<0> : tensor<1xi64> : tensor<1xi64>
  %i8 = onnx.constant dense<8> : tensor<1xi64> : tensor<1xi64>
  %all = onnx.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %four = onnx.constant dense<4.0> : tensor<f32> : tensor<f32>
  // The shape of x, taken apart and put together again.
  %shape = onnx.node "Shape" version 18 (%x) : (tensor<?x?x8xf32>) -> tensor<3xi64>
  %b = onnx.node "Gather" version 18 (%shape, %zero) : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %b1 = onnx.node "Reshape" version 18 (%b, %all) : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64>
  %target = onnx.node "Concat" version 18 (%b1, %all, %i8) {onnx_attrs = {axis = 0 : i64}} : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3xi64>
  %same = onnx.node "Reshape" version 18 (%x, %target) : (tensor<?x?x8xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %slice = onnx.node "Slice" version 18 (%same, %i0, %i8, %all) : (tensor<?x?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %cast = onnx.node "Cast" version 18 (%slice) {onnx_attrs = {to = 1 : i64}} : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %y = onnx.node "Relu" version 18 (%cast) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  // The same node again, and one that nobody reads.
  %y2 = onnx.node "Relu" version 18 (%x) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %dead = onnx.node "Exp" version 18 (%x) : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %two = onnx.node "Sqrt" version 18 (%four) : (tensor<f32>) -> tensor<f32>
  %t = onnx.node "Transpose" version 18 (%w) {onnx_attrs = {perm = array<i64: 1, 0>}} : (tensor<8x4xf32>) -> tensor<4x8xf32>
  %z = onnx.node "Scaled" domain "acme" version 1 (%y2, %two, %t) {onnx.function = @scaled} : (tensor<?x?x8xf32>, tensor<f32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
  return %z, %y : tensor<?x?x4xf32>, tensor<?x?x8xf32>
}
// CHECK-NOT: @scaled
func.func private @scaled(%x: tensor<?x?x8xf32>, %f: tensor<f32>, %w: tensor<4x8xf32>) -> tensor<?x?x4xf32> attributes {onnx.function = ["acme", "Scaled", ""]} {
  %d = onnx.node "Mul" version 18 (%x, %f) : (tensor<?x?x8xf32>, tensor<f32>) -> tensor<?x?x8xf32>
  %z = onnx.node "Gemm" version 18 (%d, %w) : (tensor<?x?x8xf32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
  return %z : tensor<?x?x4xf32>
}

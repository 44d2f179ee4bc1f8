// RUN: ee-opt %s -adaptive-verify-function | FileCheck %s

// What function form may hold; nothing is changed.
adaptive.weight @w : tensor<3xui8> source "w.safetensors" tensor "w"
adaptive.table @cos "cos" [1.0] : tensor<4x1xf32>

// CHECK-LABEL: func.func @main
// CHECK: tensor.bitcast
// CHECK: cf.assert
// CHECK: math.tanh
func.func @main(%x: tensor<?x4xf32> {ee.name = "x", ee.dims = ["n", ""]}, %b: tensor<bf16> {ee.name = "b"})
    -> (tensor<?x4xf32> {ee.name = "y"}, tensor<3xi8> {ee.name = "x", ee.dtype = "u8"}) {
  %stored = adaptive.use @w : tensor<3xui8>
  %w = tensor.bitcast %stored : tensor<3xui8> to tensor<3xi8>
  %c = adaptive.use @cos : tensor<4x1xf32>
  %c0 = arith.constant 0 : index
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %ok = arith.cmpi ne, %n, %c0 : index
  cf.assert %ok, "no rows"
  %y = math.tanh %x : tensor<?x4xf32>
  return %y, %w : tensor<?x4xf32>, tensor<3xi8>
}

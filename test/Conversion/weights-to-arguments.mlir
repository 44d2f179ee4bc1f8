// RUN: ee-opt %s -adaptive-weights-to-arguments | FileCheck %s

// Weights become arguments in the order of their symbols, one each; those
// without a use do not. Unsigned elements become signless.
adaptive.weight @b : tensor<3xui8> source "w.safetensors" tensor "b"
adaptive.weight @unused : tensor<3xf32> source "w.safetensors" tensor "unused"
adaptive.weight @a : tensor<2xf32> source "w.safetensors" tensor "a"

// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[X:.*]]: tensor<2xf32> {bufferization.writable = false, ee.name = "x"}
// CHECK-SAME: %[[B:.*]]: tensor<3xi8> {bufferization.writable = false}
// CHECK-SAME: %[[A:.*]]: tensor<2xf32> {bufferization.writable = false})
// CHECK-NOT: adaptive.use
// CHECK: arith.addf %[[X]], %[[A]]
// CHECK: arith.mulf %{{.*}}, %[[A]]
// CHECK: return %{{.*}}, %[[B]]
func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}, tensor<3xi8> {ee.name = "z"}) {
  %a = adaptive.use @a : tensor<2xf32>
  %s = arith.addf %x, %a : tensor<2xf32>
  %stored = adaptive.use @b : tensor<3xui8>
  %b = tensor.bitcast %stored : tensor<3xui8> to tensor<3xi8>
  %again = adaptive.use @a : tensor<2xf32>
  %y = arith.mulf %s, %again : tensor<2xf32>
  return %y, %b : tensor<2xf32>, tensor<3xi8>
}

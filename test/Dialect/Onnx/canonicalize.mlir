// RUN: ee-opt %s -canonicalize | FileCheck %s

// The carrier is what stands in the file: a node nobody uses stays, so that it
// is reported, not lost.
// CHECK-LABEL: func.func @kept(
func.func @kept(%x: tensor<4xf32>) {
  // CHECK-NEXT: onnx.node "Relu"
  %0 = onnx.node "Relu" version 14 (%x) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// Constants and absent inputs have no meaning of their own.
// CHECK-LABEL: func.func @unused(
func.func @unused() {
  // CHECK-NEXT: return
  %0 = onnx.constant dense<1> : tensor<1xi64> : tensor<1xi64>
  %1 = onnx.none
  return
}

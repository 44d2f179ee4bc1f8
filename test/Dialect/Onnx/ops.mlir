// RUN: ee-opt %s | ee-opt | FileCheck %s
// RUN: ee-opt %s --emit-bytecode | ee-opt | FileCheck %s
// RUN: ee-opt %s --mlir-print-op-generic | ee-opt | FileCheck %s

// CHECK-LABEL: func.func @nodes(
func.func @nodes(%x: tensor<?x4xf32>, %c: tensor<i1>) -> tensor<?x4xf32> {
  // CHECK-NEXT: %[[NONE:.*]] = onnx.none
  %none = onnx.none
  // CHECK-NEXT: %[[AXES:.*]] = onnx.constant dense<1> : tensor<1xi64> : tensor<1xi64>
  %axes = onnx.constant dense<1> : tensor<1xi64> : tensor<1xi64>
  // CHECK-NEXT: onnx.node "Softmax" version 23(%{{.*}}) {onnx_attrs = {axis = -1 : i64}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %0 = onnx.node "Softmax" version 23 (%x) {onnx_attrs = {axis = -1 : i64}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK-NEXT: onnx.node "Clip" version 18(%{{.*}}, %[[NONE]], %[[NONE]]) : (tensor<?x4xf32>, none, none) -> tensor<?x4xf32>
  %1 = onnx.node "Clip" version 18 (%0, %none, %none) : (tensor<?x4xf32>, none, none) -> tensor<?x4xf32>
  // CHECK-NEXT: onnx.node "Exit" domain "ai.adaptive" version 1(%{{.*}}) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?xf32>)
  %2:2 = onnx.node "Exit" domain "ai.adaptive" version 1 (%1) : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?xf32>)
  // CHECK-NEXT: onnx.node "If" version 23(%{{.*}}) {graphs = ["then_branch", "else_branch"]} : (tensor<i1>) -> tensor<?x4xf32> {
  // CHECK-NEXT: onnx.return %{{.*}} : tensor<?x4xf32>
  // CHECK-NEXT: }, {
  %3 = onnx.node "If" version 23 (%c) {graphs = ["then_branch", "else_branch"]} : (tensor<i1>) -> tensor<?x4xf32> {
    onnx.return %x : tensor<?x4xf32>
  }, {
    onnx.return %1 : tensor<?x4xf32>
  }
  return %3 : tensor<?x4xf32>
}

// RUN: ee-opt %s -allow-unregistered-dialect -split-input-file -verify-diagnostics

// node C1
func.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{version must be positive, but got 0}}
  %0 = onnx.node "Relu" version 0 (%x) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

// node C2
func.func @f(%c: tensor<i1>) {
  // expected-error @+1 {{graphs names 0 subgraphs, but there are 1}}
  onnx.node "If" version 23 (%c) : (tensor<i1>) -> () {
    onnx.return
  }
  return
}

// -----

// node C2
func.func @f(%c: tensor<i1>) {
  // expected-error @+1 {{graphs names 2 subgraphs, but there are 0}}
  onnx.node "If" version 23 (%c) {graphs = ["then_branch", "else_branch"]} : (tensor<i1>) -> ()
  return
}

// -----

// constant C1
func.func @f() {
  // expected-error @+1 {{result must have the type of the value 'tensor<1xi64>'}}
  %0 = onnx.constant dense<1> : tensor<1xi64> : tensor<2xi64>
  return
}

// -----

// Values are tensors or none.
func.func @f(%x: f32) {
  // expected-error @+1 {{operand #0 must be variadic of tensor of any type values or none type, but got 'f32'}}
  %0 = onnx.node "Relu" version 14 (%x) : (f32) -> tensor<f32>
  return
}

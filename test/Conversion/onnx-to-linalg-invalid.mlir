// RUN: ee-opt %s -split-input-file -verify-diagnostics -onnx-to-linalg

// Every node without a lowering in one run.

func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> (tensor<2xf32> {onnx.name = "y"}) {
  // expected-error @+1 {{node 'a': operator Strange of domain org.example (opset 7) has no lowering}}
  %a = onnx.node "Strange" domain "org.example" version 7 (%x) {onnx.names = ["a"]} : (tensor<2xf32>) -> tensor<2xf32>
  // expected-error @+1 {{node 'b': operator Bernoulli (opset 22) has no lowering}}
  %b = onnx.node "Bernoulli" version 22 (%a) {onnx.names = ["b"]} : (tensor<2xf32>) -> tensor<2xf32>
  return %b : tensor<2xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {onnx.name = "x"}, %y: tensor<4xf32> {onnx.name = "y"}) -> (tensor<2x3xf32> {onnx.name = "z"}) {
  // expected-error @+1 {{node 'z': dimension 1 of the operands must agree or be 1}}
  %z = onnx.node "Add" version 23 (%x, %y) {onnx.names = ["z"]} : (tensor<2x3xf32>, tensor<4xf32>) -> tensor<2x3xf32>
  return %z : tensor<2x3xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {onnx.name = "x"}, %s: tensor<?xi64> {onnx.name = "s"}) -> (tensor<*xf32> {onnx.name = "y"}) {
  // expected-error @+1 {{node 'y': the shape must be an integer vector of a fixed number of elements, or the rank of the result is unknown}}
  %y = onnx.node "Reshape" version 23 (%x, %s) {onnx.names = ["y"]} : (tensor<2x3xf32>, tensor<?xi64>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}

// -----

// expected-error @+1 {{graph input 'x' must have a known rank}}
func.func @main(%x: tensor<*xf32> {onnx.name = "x"}) -> (tensor<*xf32> {onnx.name = "y"}) {
  return %x : tensor<*xf32>
}

// -----

// expected-error @+1 {{graph input 'x' has element type 'f8E4M3FN', which is not supported}}
func.func @main(%x: tensor<2xf8E4M3FN> {onnx.name = "x"}) -> (tensor<2xf8E4M3FN> {onnx.name = "y"}) {
  return %x : tensor<2xf8E4M3FN>
}

// -----

func.func @main(%x: tensor<2x3xf32> {onnx.name = "x"}, %axes: tensor<1xi64> {onnx.name = "axes"}) -> (tensor<?x?xf32> {onnx.name = "y"}) {
  // expected-error @+1 {{node 'y': axes must be constant}}
  %y = onnx.node "ReduceSum" version 23 (%x, %axes) {onnx.names = ["y"]} : (tensor<2x3xf32>, tensor<1xi64>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

func.func @main(%x: tensor<2x3xf32> {onnx.name = "x"}) -> (tensor<f32> {onnx.name = "y"}) {
  // expected-error @+1 {{node 'y': axis must lie in [-2, 2), but got 2}}
  %y = onnx.node "Softmax" version 23 (%x) {onnx.names = ["y"], onnx_attrs = {axis = 2 : i64}} : (tensor<2x3xf32>) -> tensor<f32>
  return %y : tensor<f32>
}

// -----

// Both branches of a condition that only the run knows need one rank.

func.func @main(%c: tensor<i1> {onnx.name = "c"}, %a: tensor<1x2xf32> {onnx.name = "a"}, %b: tensor<2xf32> {onnx.name = "b"}) -> (tensor<*xf32> {onnx.name = "y"}) {
  // expected-error @+1 {{node 'y': output 0 has rank 2 in one branch and 1 in the other; both must have one rank and type}}
  %y = onnx.node "If" version 23 (%c) {onnx.names = ["y"], graphs = ["then_branch", "else_branch"]} : (tensor<i1>) -> tensor<*xf32> {
    onnx.return %a : tensor<1x2xf32>
  }, {
    onnx.return %b : tensor<2xf32>
  }
  return %y : tensor<*xf32>
}

// -----

// A required input that is absent.

func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> (tensor<2xf32> {onnx.name = "y"}) {
  %none = onnx.none
  // expected-error @+1 {{node 'y': input 1 '' of Add must be a tensor of a supported element type}}
  %y = onnx.node "Add" version 23 (%x, %none) {onnx.names = ["y"]} : (tensor<2xf32>, none) -> tensor<2xf32>
  return %y : tensor<2xf32>
}

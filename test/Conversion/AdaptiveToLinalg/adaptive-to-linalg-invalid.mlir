// RUN: ee-opt %s -split-input-file -verify-diagnostics -adaptive-to-linalg

// Weights are arguments.
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
func.func @use(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{has no decomposition: accepted are kernel ops in the body of a function, with weights as arguments}}
  %w = adaptive.use @w : tensor<4xf32>
  %y = adaptive.norm rms %x, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Which rows are in the launch is no function of tensors; all such ops are named.
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
func.func @layers(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{has no decomposition}}
  %y = adaptive.layers @b(%x) first 0 weights [[]] : tensor<?x4xf32>
  // expected-error @+1 {{has no decomposition}}
  %z = adaptive.layers @b(%y) first 1 weights [[]] : tensor<?x4xf32>
  return %z : tensor<?x4xf32>
}

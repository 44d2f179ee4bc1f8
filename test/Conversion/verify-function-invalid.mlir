// RUN: ee-opt %s -adaptive-verify-function -split-input-file -verify-diagnostics

// F1
func.func @main() -> (tensor<1xf32> {ee.name = "y"}) {
  %y = arith.constant dense<1.0> : tensor<1xf32>
  return %y : tensor<1xf32>
}
// expected-error @below {{function form holds weights and one func.func, but got another 'func.func'}}
func.func @other() {
  return
}

// -----

// F1
// expected-error @below {{function form holds one func.func @main, but there is none}}
module {
  adaptive.weight @w : tensor<3xf32> source "w.safetensors" tensor "w"
}

// -----

// F1
// expected-error @below {{the function must be a public @main with a body, but got @start}}
func.func @start() {
  return
}

// -----

// F1
// expected-error @below {{@main must have one block}}
func.func @main() -> (tensor<0xf32> {ee.name = "none"}) {
  cf.br ^next
^next:
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F2
// expected-error @below {{@main must have a result}}
func.func @main(%x: tensor<2xf32> {ee.name = "x"}) {
  return
}

// -----

// F2
// expected-error @below {{argument 0 must be a ranked tensor of f32, f64, f16, bf16, i1, i8, i16, i32 or i64, but got 'tensor<*xf32>'}}
func.func @main(%x: tensor<*xf32> {ee.name = "x"}) -> (tensor<0xf32> {ee.name = "none"}) {
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F2
// expected-error @below {{argument 0 must be a ranked tensor of f32, f64, f16, bf16, i1, i8, i16, i32 or i64, but got 'tensor<2xui8>'}}
func.func @main(%x: tensor<2xui8> {ee.name = "x"}) -> (tensor<0xf32> {ee.name = "none"}) {
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F2
// expected-error @below {{argument 1 must have a name in the attribute 'ee.name'}}
func.func @main(%x: tensor<2xf32> {ee.name = "x"}, %y: tensor<2xf32>) -> (tensor<0xf32> {ee.name = "none"}) {
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F2
// expected-error @below {{result 1 has the name "y", which another one has already}}
func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<2xf32> {ee.name = "y"}, tensor<2xf32> {ee.name = "y"}) {
  return %x, %x : tensor<2xf32>, tensor<2xf32>
}

// -----

// F3
// expected-error @below {{argument 0: 'ee.dims' must hold a string per dimension, but got ["n"]}}
func.func @main(%x: tensor<?x2xf32> {ee.name = "x", ee.dims = ["n"]}) -> (tensor<0xf32> {ee.name = "none"}) {
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F3
// expected-error @below {{'ee.dtype' says that integers are unsigned: "u" and the width, but got "u16" for 'tensor<2xi8>'}}
func.func @main(%x: tensor<2xi8> {ee.name = "x", ee.dtype = "u16"}) -> (tensor<0xf32> {ee.name = "none"}) {
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F4
func.func @main(%x: tensor<2x2xf32> {ee.name = "x"}, %i: tensor<1xi32> {ee.name = "i"}) -> (tensor<0xf32> {ee.name = "none"}) {
  // expected-error @below {{'tensor.gather' cannot be compiled for the CPU (and 1 more ops)}}
  %a = tensor.gather %x[%i] gather_dims([0]) unique : (tensor<2x2xf32>, tensor<1xi32>) -> tensor<2xf32>
  %b = tensor.gather %x[%i] gather_dims([1]) unique : (tensor<2x2xf32>, tensor<1xi32>) -> tensor<2xf32>
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F4
func.func @main(%x: tensor<i64> {ee.name = "x"}) -> (tensor<0xf32> {ee.name = "none"}) {
  %v = tensor.extract %x[] : tensor<i64>
  // expected-error @below {{'math.ipowi' cannot be compiled for the CPU}}
  %p = math.ipowi %v, %v : i64
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F4
func.func @main(%x: tensor<2xf32> {ee.name = "x"}) -> (tensor<0xf32> {ee.name = "none"}) {
  // expected-error @below {{'tensor.bitcast' cannot be compiled for the CPU}}
  %p = tensor.bitcast %x : tensor<2xf32> to tensor<2xi32>
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F5
func.func @main() -> (tensor<0xf32> {ee.name = "none"}) {
  // expected-error @below {{'arith.constant' works on 'f128', accepted are index and tensors of f32}}
  %p = arith.constant 1.0 : f128
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

// -----

// F5
adaptive.weight @w : tensor<3xui8> source "w.safetensors" tensor "w"
func.func @main() -> (tensor<0xf32> {ee.name = "none"}) {
  %w = adaptive.use @w : tensor<3xui8>
  %c0 = arith.constant 0 : index
  // expected-error @below {{'tensor.extract' works on 'tensor<3xui8>'}}
  %v = tensor.extract %w[%c0] : tensor<3xui8>
  %none = arith.constant dense<> : tensor<0xf32>
  return %none : tensor<0xf32>
}

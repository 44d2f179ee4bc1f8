// RUN: ee-opt %s -split-input-file -onnx-to-linalg | FileCheck %s
// RUN: ee-opt %s -split-input-file -onnx-to-linalg -adaptive-verify-function

// Elementwise: a dimension that may be 1 or that of the other operand is read at
// run time, and checked; dimensions of one name are known to agree.

// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[A:.*]]: tensor<?x4xf32> {ee.dims = ["n", ""], ee.name = "a"}, %[[B:.*]]: tensor<?x4xf32> {{.*}}, %[[C:.*]]: tensor<?x1xf32>
// CHECK: cf.assert %{{.*}}, "node 'sum': dimension 0 of the operands must agree or be 1"
// CHECK: arith.select
// CHECK: linalg.generic
// CHECK: tensor.extract %[[A]]
// CHECK: tensor.extract %[[B]]
// CHECK: linalg.generic {{.*}} ins(%[[A]], %[[C]] :
func.func @main(%a: tensor<?x4xf32> {onnx.name = "a", onnx.dims = ["n", ""]}, %b: tensor<?x4xf32> {onnx.name = "b", onnx.dims = ["m", ""]}, %c: tensor<?x1xf32> {onnx.name = "c", onnx.dims = ["n", ""]}) -> (tensor<?x4xf32> {onnx.name = "y"}, tensor<?x4xf32> {onnx.name = "z"}) {
  %y = onnx.node "Add" version 23 (%a, %b) {onnx.names = ["sum"]} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %z = onnx.node "Mul" version 23 (%a, %c) : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  return %y, %z : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Activations and norms of half floats are computed in f32. Unsigned integers
// are divided and compared as such.

// CHECK-LABEL: func.func @main
// CHECK-SAME: ee.dtype = "u8"
// CHECK: arith.extf %{{.*}} : f16 to f32
// CHECK: math.tanh %{{.*}} : f32
// CHECK: arith.truncf %{{.*}} : f32 to f16
// CHECK: arith.divui %{{.*}} : i8
func.func @main(%x: tensor<3xf16> {onnx.name = "x"}, %u: tensor<3xui8> {onnx.name = "u"}, %v: tensor<3xui8> {onnx.name = "v"}) -> (tensor<3xf16> {onnx.name = "y"}, tensor<3xui8> {onnx.name = "q"}) {
  %y = onnx.node "Tanh" version 23 (%x) : (tensor<3xf16>) -> tensor<3xf16>
  %q = onnx.node "Div" version 23 (%u, %v) : (tensor<3xui8>, tensor<3xui8>) -> tensor<3xui8>
  return %y, %q : tensor<3xf16>, tensor<3xui8>
}

// -----

// Products: leading dimensions are rows of one matrix; batches of both operands
// are one batch.

// CHECK-LABEL: func.func @main
// CHECK: %[[W:.*]] = adaptive.use @w
// CHECK: linalg.matmul ins(%{{.*}}, %[[W]] : tensor<?x8xf32>, tensor<8x2xf32>)
// CHECK: linalg.batch_matmul ins(%{{.*}} : tensor<?x5x8xf32>, tensor<?x8x5xf32>)
adaptive.weight @w : tensor<8x2xf32> source "m.onnx" tensor "w"
func.func @main(%x: tensor<?x5x8xf32> {onnx.name = "x", onnx.dims = ["n", "", ""]}, %k: tensor<?x8x5xf32> {onnx.name = "k", onnx.dims = ["n", "", ""]}) -> (tensor<?x5x2xf32> {onnx.name = "y"}, tensor<?x5x5xf32> {onnx.name = "s"}) {
  %w = adaptive.use @w : tensor<8x2xf32>
  %y = onnx.node "MatMul" version 23 (%x, %w) : (tensor<?x5x8xf32>, tensor<8x2xf32>) -> tensor<?x5x2xf32>
  %s = onnx.node "MatMul" version 23 (%x, %k) : (tensor<?x5x8xf32>, tensor<?x8x5xf32>) -> tensor<?x5x5xf32>
  return %y, %s : tensor<?x5x2xf32>, tensor<?x5x5xf32>
}

// -----

// Shapes are followed: the reshape that Shape, Gather and Concat describe is known
// to fit, so nothing is checked and nothing is read at run time.

// CHECK-LABEL: func.func @main
// CHECK-NOT: cf.assert
// CHECK-NOT: tensor.extract %
// CHECK: tensor.expand_shape %{{.*}} {{\[\[}}0], [1, 2]] output_shape [%{{.*}}, 2, 3] : tensor<?x6xf32> into tensor<?x2x3xf32>
// CHECK-NOT: cf.assert
func.func @main(%x: tensor<?x6xf32> {onnx.name = "x", onnx.dims = ["n", ""]}) -> (tensor<?x2x3xf32> {onnx.name = "y"}) {
  %zero = onnx.constant dense<0> : tensor<1xi64> : tensor<1xi64>
  %tail = onnx.constant dense<[2, -1]> : tensor<2xi64> : tensor<2xi64>
  %shape = onnx.node "Shape" version 23 (%x) : (tensor<?x6xf32>) -> tensor<2xi64>
  %n = onnx.node "Gather" version 23 (%shape, %zero) : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
  %all = onnx.node "Concat" version 23 (%n, %tail) {onnx_attrs = {axis = 0 : i64}} : (tensor<1xi64>, tensor<2xi64>) -> tensor<3xi64>
  %y = onnx.node "Reshape" version 23 (%x, %all) : (tensor<?x6xf32>, tensor<3xi64>) -> tensor<?x2x3xf32>
  return %y : tensor<?x2x3xf32>
}

// -----

// A shape that only the run knows is read, its 0 and -1 understood, its product
// checked.

// CHECK-LABEL: func.func @main
// CHECK: tensor.extract
// CHECK: cf.assert %{{.*}}, "node 'r': the shape must have as many elements as the input"
// CHECK: tensor.reshape
func.func @main(%x: tensor<4x6xf32> {onnx.name = "x"}, %s: tensor<2xi64> {onnx.name = "s"}) -> (tensor<?x?xf32> {onnx.name = "y"}) {
  %y = onnx.node "Reshape" version 23 (%x, %s) {onnx.names = ["r"]} : (tensor<4x6xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// Indices are checked once, before the loop that reads.

// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK: cf.assert %{{.*}}, "node 'g': indices must lie in [-size, size) of their axis"
// CHECK: linalg.generic
// CHECK-NOT: cf.assert
// CHECK: tensor.extract
func.func @main(%x: tensor<4x6xf32> {onnx.name = "x"}, %i: tensor<?xi64> {onnx.name = "i"}) -> (tensor<?x6xf32> {onnx.name = "y"}) {
  %y = onnx.node "Gather" version 23 (%x, %i) {onnx.names = ["g"]} : (tensor<4x6xf32>, tensor<?xi64>) -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// -----

// A reduction starts from its neutral element; the reduced axis stays as 1.

// CHECK-LABEL: func.func @main
// CHECK: %[[LOW:.*]] = arith.constant 0xFF800000 : f32
// CHECK: linalg.fill ins(%[[LOW]] : f32)
// CHECK: iterator_types = ["parallel", "reduction"]
// CHECK: arith.maximumf
// CHECK: tensor.expand_shape {{.*}} into tensor<?x1xf32>
func.func @main(%x: tensor<?x6xf32> {onnx.name = "x"}) -> (tensor<?x1xf32> {onnx.name = "y"}) {
  %axes = onnx.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %y = onnx.node "ReduceMax" version 23 (%x, %axes) : (tensor<?x6xf32>, tensor<1xi64>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

// A slice with positive steps is a view; one with negative steps is read by
// index.

// CHECK-LABEL: func.func @main
// CHECK: tensor.extract_slice %{{.*}}[0, 1] [%{{.*}}, 2] [1, 2] : tensor<?x6xf32> to tensor<?x2xf32>
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<?x6xf32>)
func.func @main(%x: tensor<?x6xf32> {onnx.name = "x"}) -> (tensor<?x2xf32> {onnx.name = "y"}, tensor<?x6xf32> {onnx.name = "z"}) {
  %one = onnx.constant dense<1> : tensor<1xi64> : tensor<1xi64>
  %five = onnx.constant dense<5> : tensor<1xi64> : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64> : tensor<1xi64>
  %back = onnx.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %low = onnx.constant dense<-9223372036854775808> : tensor<1xi64> : tensor<1xi64>
  %y = onnx.node "Slice" version 23 (%x, %one, %five, %one, %two) : (tensor<?x6xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2xf32>
  %z = onnx.node "Slice" version 23 (%x, %back, %low, %one, %back) : (tensor<?x6xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x6xf32>
  return %y, %z : tensor<?x2xf32>, tensor<?x6xf32>
}

// -----

// Convolution is one generic over the padded input, groups included.

// CHECK-LABEL: func.func @main
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[0, 0, 1] [1, 4, 8] [1, 1, 1] : tensor<1x4x8xf32> into tensor<1x4x10xf32>
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction"]
func.func @main(%x: tensor<1x4x8xf32> {onnx.name = "x"}, %w: tensor<6x2x3xf32> {onnx.name = "w"}) -> (tensor<1x6x4xf32> {onnx.name = "y"}) {
  %y = onnx.node "Conv" version 23 (%x, %w) {onnx_attrs = {group = 2 : i64, pads = array<i64: 1, 1>, strides = array<i64: 2>}} : (tensor<1x4x8xf32>, tensor<6x2x3xf32>) -> tensor<1x6x4xf32>
  return %y : tensor<1x6x4xf32>
}

// -----

// A condition of the run: both branches have one type in the end. Strides of the
// result may differ, so what is returned is a dense copy.

// CHECK-LABEL: func.func @main
// CHECK: %[[Y:.*]] = scf.if %{{.*}} -> (tensor<?x2xf32>)
// CHECK: tensor.extract %[[Y]]
func.func @main(%c: tensor<i1> {onnx.name = "c"}, %a: tensor<3x2xf32> {onnx.name = "a"}, %b: tensor<4x2xf32> {onnx.name = "b"}) -> (tensor<?x2xf32> {onnx.name = "y"}) {
  %y = onnx.node "If" version 23 (%c) {graphs = ["then_branch", "else_branch"]} : (tensor<i1>) -> tensor<?x2xf32> {
    %p = onnx.node "Relu" version 23 (%a) : (tensor<3x2xf32>) -> tensor<3x2xf32>
    onnx.return %p : tensor<3x2xf32>
  }, {
    onnx.return %b : tensor<4x2xf32>
  }
  return %y : tensor<?x2xf32>
}

// -----

// Calls of model-local functions are lowered in place; their definitions go.

// CHECK-LABEL: func.func @main
// CHECK-COUNT-2: linalg.generic
// CHECK-NOT: func.func
func.func @main(%x: tensor<2xf32> {onnx.name = "x"}) -> (tensor<2xf32> {onnx.name = "y"}) {
  %h = onnx.node "Twice" domain "test" version 1 (%x) {onnx.function = @Twice} : (tensor<2xf32>) -> tensor<2xf32>
  %y = onnx.node "Twice" domain "test" version 1 (%h) {onnx.function = @Twice} : (tensor<2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}
func.func private @Twice(%x: tensor<2xf32>) -> tensor<2xf32> attributes {onnx.function = ["test", "Twice", ""]} {
  %y = onnx.node "Add" version 23 (%x, %x) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}

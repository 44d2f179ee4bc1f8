// RUN: ee-opt %s -allow-unregistered-dialect -split-input-file -verify-diagnostics

// weight C1
// expected-error @+1 {{type must be a static tensor of rank 1 or more, but got 'tensor<?x4xf32>'}}
adaptive.weight @w : tensor<?x4xf32> source "m.onnx" tensor "w"

// -----

// weight C1
// expected-error @+1 {{type must be a static tensor of rank 1 or more, but got 'tensor<f32>'}}
adaptive.weight @w : tensor<f32> source "m.onnx" tensor "w"

// -----

// weight C2
// expected-error @+1 {{transposed needs a matrix, but got 'tensor<4xf32>'}}
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w" transposed

// -----

// weight C3: the type.
// expected-error @+1 {{value must have the type 'tensor<4xf32>', but got 'tensor<2xf32>'}}
adaptive.weight @w : tensor<4xf32> source "" tensor "" value dense<0.0> : tensor<2xf32>

// -----

// weight C3: alone.
// expected-error @+1 {{a value stands alone: source and tensor must be empty, and it is not transposed}}
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w" value dense<0.0> : tensor<4xf32>

// -----

// weight C4
// expected-error @+1 {{format q4 needs a matrix, but got 'tensor<4xf32>'}}
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w" format q4

// -----

// weight: formats are those of the dialect.
// expected-error @+1 {{expected one of [plain, f32, bf16, q8, q4]}}
adaptive.weight @w : tensor<8x4xf32> source "m.onnx" tensor "w" format banana

// -----

// weight: a format is no string.
// expected-error @+1 {{attribute 'format' failed to satisfy constraint}}
"adaptive.weight"() {sym_name = "w", type = tensor<8x4xf32>, source = "m.onnx", tensor = "w", format = "q4"} : () -> ()

// -----

// table C1
// expected-error @+1 {{type must be [positions, 2], but got 'tensor<8x3xf32>'}}
adaptive.table @t "cos" [1.0, 0.5] : tensor<8x3xf32>

// -----

// table C1
// expected-error @+1 {{type must be [positions, 1], but got 'tensor<?x1xf32>'}}
adaptive.table @t "cos" [1.0] : tensor<?x1xf32>

// -----

// table C2
// expected-error @+1 {{function must be "cos" or "sin", but got "tan"}}
adaptive.table @t "tan" [1.0] : tensor<8x1xf32>

// -----

// use C1
// expected-error @+1 {{must name a weight or a table, but got @absent}}
%w = adaptive.use @absent : tensor<4xf32>

// -----

// use C1
adaptive.kv_level @level layers 0 to 1 heads 1 head_dim 4 page 4 fill exact
// expected-error @+1 {{must name a weight or a table, but got @level}}
%w = adaptive.use @level : tensor<4xf32>

// -----

// use C2
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
// expected-error @+1 {{type must be that of @w, 'tensor<4xf32>', but got 'tensor<5xf32>'}}
%w = adaptive.use @w : tensor<5xf32>

// -----

// model C1
// expected-error @+1 {{body must take one tensor<?xi32>}}
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xf32>):
  adaptive.yield %ids : tensor<?xf32>
}

// -----

// model C1
// expected-error @+1 {{body must take one tensor<?xi32>}}
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>, %more: tensor<?xi32>):
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// model C2
// expected-error @+1 {{body must end in a yield of one value}}
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  adaptive.yield
}

// -----

// model C3
// expected-error @+1 {{body must yield rows of logits or of token ids, but yields 'tensor<?xf32>'}}
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %s = "test.scores"(%ids) : (tensor<?xi32>) -> tensor<?xf32>
  adaptive.yield %s : tensor<?xf32>
}

// -----

// model C4
// expected-error @+1 {{max_position must lie in [1, 2^31), but got 0}}
adaptive.model @m max_position 0 {
^bb0(%ids: tensor<?xi32>):
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// model C4
// expected-error @+1 {{max_position must lie in [1, 2^31), but got 2147483648}}
adaptive.model @m max_position 2147483648 {
^bb0(%ids: tensor<?xi32>):
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// block C1
// expected-error @+1 {{first argument must be the residual stream tensor<?xDxf32>}}
adaptive.block @b {
^bb0(%w: tensor<4x4xf32>):
  adaptive.yield %w : tensor<4x4xf32>
}

// -----

// block C1
// expected-error @+1 {{first argument must be the residual stream tensor<?xDxf32>}}
adaptive.block @b {
  adaptive.yield
}

// -----

// block C2
// expected-error @+1 {{weight arguments must be static tensors, but got 'tensor<?x4xf32>'}}
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}

// -----

// block C3
// expected-error @+1 {{body must yield the residual stream 'tensor<?x4xf32>'}}
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<5x4xf32>):
  %y = adaptive.linear %h weights(%w) : tensor<?x4xf32>, (tensor<5x4xf32>) -> (tensor<?x5xf32>)
  adaptive.yield %y : tensor<?x5xf32>
}

// -----

// block C4
// expected-error @+1 {{a layer appends keys and values at most once}}
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  %kv0 = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %kv1 = adaptive.kv_append %h, %h : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  adaptive.yield %h : tensor<?x4xf32>
}

// -----

// layers C1
adaptive.weight @w : tensor<4x4xf32> source "m.onnx" tensor "w"
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{callee must name a block, but got @w}}
%y = adaptive.layers @w(%h) first 0 weights [[]] : tensor<?x4xf32>

// -----

// layers C2
adaptive.weight @w : tensor<4x4xf32> source "m.onnx" tensor "w"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{layer 1 must list 1 weights}}
%y = adaptive.layers @b(%h) first 0 weights [[@w], [@w, @w]] : tensor<?x4xf32>

// -----

// layers C2
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{layer 0 must list 0 weights}}
%y = adaptive.layers @b(%h) first 0 weights [3] : tensor<?x4xf32>

// -----

// layers C3
adaptive.weight @w : tensor<4x5xf32> source "m.onnx" tensor "w"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{weight 0 of layer 0 must have type 'tensor<4x4xf32>'}}
%y = adaptive.layers @b(%h) first 0 weights [[@w]] : tensor<?x4xf32>

// -----

// layers C3: a name that is no weight has no type.
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{weight 0 of layer 0 must have type 'tensor<4x4xf32>'}}
%y = adaptive.layers @b(%h) first 0 weights [[@b]] : tensor<?x4xf32>

// -----

// layers C4
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x5xf32>
// expected-error @+1 {{operand and result must be the residual stream 'tensor<?x4xf32>'}}
%y = adaptive.layers @b(%h) first 0 weights [[]] : tensor<?x5xf32>

// -----

// layers C5
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{first layer must not be negative, but got -1}}
%y = adaptive.layers @b(%h) first -1 weights [[]] : tensor<?x4xf32>

// -----

// layers C6
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{unrolled layers must fit in 32 bits}}
%y = adaptive.layers @b(%h) first 2147483647 weights [[]] : tensor<?x4xf32>

// -----

// layers C7
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h, %m = "test.rows"() : () -> (tensor<?x4xf32>, tensor<?xi1>)
// expected-error @+1 {{keep mask and frozen state come together}}
%y = "adaptive.layers"(%h, %m) <{callee = @b, first = 0 : i64, weights = [[]], operandSegmentSizes = array<i32: 1, 1, 0>}> : (tensor<?x4xf32>, tensor<?xi1>) -> tensor<?x4xf32>

// -----

// layers C8
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h, %m, %f = "test.rows"() : () -> (tensor<?x4xf32>, tensor<?xi1>, tensor<?x5xf32>)
// expected-error @+1 {{frozen state must be the residual stream 'tensor<?x4xf32>'}}
%y = adaptive.layers @b(%h) keep %m : tensor<?xi1>, %f : tensor<?x5xf32> first 0 weights [[]] : tensor<?x4xf32>

// -----

// layers C9
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h, %m, %f = "test.rows"() : () -> (tensor<?x4xf32>, tensor<?x4xi1>, tensor<?x4xf32>)
// expected-error @+1 {{keep mask must be tensor<?xi1>, but got 'tensor<?x4xi1>'}}
%y = adaptive.layers @b(%h) keep %m : tensor<?x4xi1>, %f : tensor<?x4xf32> first 0 weights [[]] : tensor<?x4xf32>

// -----

// recurse C1
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{callee must name a block, but got @absent}}
%y = adaptive.recurse @absent(%h) times 2 first 0 weights [[]] : tensor<?x4xf32>

// -----

// recurse C6
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>):
  adaptive.yield %h : tensor<?x4xf32>
}
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{unrolled layers must fit in 32 bits}}
%y = adaptive.recurse @b(%h) times 2147483647 first 0 weights [[], []] : tensor<?x4xf32>

// -----

// recurse C7
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{must run its layers at least 2 times, but got 1}}
%y = adaptive.recurse @b(%h) times 1 first 0 weights [[]] : tensor<?x4xf32>

// -----

// recurse C7
%h = "test.rows"() : () -> tensor<?x4xf32>
// expected-error @+1 {{must run its layers at least 2 times, but got -5}}
%y = adaptive.recurse @b(%h) times -5 first 0 weights [[]] : tensor<?x4xf32>

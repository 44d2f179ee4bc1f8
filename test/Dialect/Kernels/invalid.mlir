// RUN: ee-opt %s -allow-unregistered-dialect -split-input-file -verify-diagnostics

// embed C1
func.func @f(%ids: tensor<?x1xi32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{ids must be tensor<?xi32>}}
  %0 = adaptive.embed %ids, %t : tensor<?x1xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  return
}

// -----

// embed C2
func.func @f(%ids: tensor<?xi32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{result must have the width of the table 'tensor<8x4xf32>'}}
  %0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x5xf32>
  return
}

// -----

// embed C2
func.func @f(%ids: tensor<?xi32>, %t: tensor<?x4xf32>) {
  // expected-error @+1 {{result must have the width of the table 'tensor<?x4xf32>'}}
  %0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<?x4xf32> -> tensor<?x4xf32>
  return
}

// -----

// norm C1
func.func @f(%h: tensor<?x8xf32>, %w: tensor<3xf32>) {
  // expected-error @+1 {{row width must be a multiple of the scale's, but got 'tensor<?x8xf32>' and 'tensor<3xf32>'}}
  %0 = adaptive.norm rms %h, %w epsilon 0.0 : tensor<?x8xf32>, tensor<3xf32>
  return
}

// -----

// norm C1: an empty scale.
func.func @f(%h: tensor<?x8xf32>, %w: tensor<0xf32>) {
  // expected-error @+1 {{row width must be a multiple of the scale's, but got 'tensor<?x8xf32>' and 'tensor<0xf32>'}}
  %0 = adaptive.norm rms %h, %w epsilon 0.0 : tensor<?x8xf32>, tensor<0xf32>
  return
}

// -----

// norm C2
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8xf32>) {
  // expected-error @+1 {{only a layer norm takes a bias}}
  %0 = adaptive.norm rms %h, %w, %w : tensor<8xf32> epsilon 0.0 : tensor<?x8xf32>, tensor<8xf32>
  return
}

// -----

// norm C3
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8xf32>, %b: tensor<4xf32>) {
  // expected-error @+1 {{bias must have the type of the scale, 'tensor<8xf32>'}}
  %0 = adaptive.norm layer %h, %w, %b : tensor<4xf32> epsilon 0.0 : tensor<?x8xf32>, tensor<8xf32>
  return
}

// -----

// norm C4
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8xf32>) {
  // expected-error @+1 {{epsilon must not be negative, but got -1}}
  %0 = adaptive.norm rms %h, %w epsilon -1.0 : tensor<?x8xf32>, tensor<8xf32>
  return
}

// -----

// norm C4
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8xf32>) {
  // expected-error @+1 {{epsilon must not be negative, but got nan}}
  %0 = adaptive.norm rms %h, %w epsilon 0x7FF8000000000000 : tensor<?x8xf32>, tensor<8xf32>
  return
}

// -----

// linear C1
func.func @f(%x: tensor<8xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+1 {{input must be rows tensor<?xKxf32>, but got 'tensor<8xf32>'}}
  %0 = adaptive.linear %x weights(%w) : tensor<8xf32>, (tensor<4x8xf32>) -> (tensor<?x4xf32>)
  return
}

// -----

// linear C1
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{needs at least one weight}}
  "adaptive.linear"(%x) <{operandSegmentSizes = array<i32: 1, 0, 0>}> ({}) : (tensor<?x8xf32>) -> ()
  return
}

// -----

// linear C2
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{weight must be [N, 8], but got 'tensor<8x4xf32>'}}
  %0 = adaptive.linear %x weights(%w) : tensor<?x8xf32>, (tensor<8x4xf32>) -> (tensor<?x4xf32>)
  return
}

// -----

// linear C3
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{extras need an epilogue region}}
  %0 = adaptive.linear %x weights(%w) extras(%x : tensor<?x8xf32>) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x8xf32>)
  return
}

// -----

// linear C4
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{without an epilogue there is one result per weight}}
  %0 = adaptive.linear %x weights(%w, %w) : tensor<?x8xf32>, (tensor<8x8xf32>, tensor<8x8xf32>) -> (tensor<?x8xf32>)
  return
}

// -----

// linear C5
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>, %v: tensor<4x8xf32>) {
  // expected-error @+1 {{result must have the 4 outputs of its weight}}
  %0:2 = adaptive.linear %x weights(%w, %v) : tensor<?x8xf32>, (tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<?x8xf32>, tensor<?x5xf32>)
  return
}

// -----

// linear C6: two results.
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{with an epilogue there is one result of width 8}}
  %0:2 = adaptive.linear %x weights(%w) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) epilogue {
  ^bb0(%a: f32):
    adaptive.yield %a : f32
  }
  return
}

// -----

// linear C6: another width.
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{with an epilogue there is one result of width 8}}
  %0 = adaptive.linear %x weights(%w) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x4xf32>) epilogue {
  ^bb0(%a: f32):
    adaptive.yield %a : f32
  }
  return
}

// -----

// linear C7
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>, %v: tensor<4x8xf32>) {
  // expected-error @+1 {{weights that an epilogue combines must have one type}}
  %0 = adaptive.linear %x weights(%w, %v) : tensor<?x8xf32>, (tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%a: f32, %b: f32):
    adaptive.yield %a : f32
  }
  return
}

// -----

// linear C8
func.func @f(%x: tensor<?x8xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+1 {{extra must have width 4, but got 'tensor<?x8xf32>'}}
  %0 = adaptive.linear %x weights(%w) extras(%x : tensor<?x8xf32>) : tensor<?x8xf32>, (tensor<4x8xf32>) -> (tensor<?x4xf32>) epilogue {
  ^bb0(%a: f32, %b: f32):
    adaptive.yield %a : f32
  }
  return
}

// -----

// linear C9: the number.
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{region must take 2 values of f32}}
  %0 = adaptive.linear %x weights(%w) extras(%x : tensor<?x8xf32>) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%a: f32):
    adaptive.yield %a : f32
  }
  return
}

// -----

// linear C9: the type.
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{region must take 1 values of f32}}
  %0 = adaptive.linear %x weights(%w) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%a: f64):
    %b = arith.truncf %a : f64 to f32
    adaptive.yield %b : f32
  }
  return
}

// -----

// linear C10
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{region must yield one f32}}
  %0 = adaptive.linear %x weights(%w) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%a: f32):
    adaptive.yield %a, %a : f32, f32
  }
  return
}

// -----

// linear C11
func.func @f(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error @+1 {{region may hold arith and math ops only, but has test.magic}}
  %0 = adaptive.linear %x weights(%w) : tensor<?x8xf32>, (tensor<8x8xf32>) -> (tensor<?x8xf32>) epilogue {
  ^bb0(%a: f32):
    %b = "test.magic"(%a) : (f32) -> f32
    adaptive.yield %b : f32
  }
  return
}

// -----

// map C1
func.func @f(%a: tensor<?x8xf32>, %b: tensor<?x4xf32>) {
  // expected-error @+1 {{operand must have width 8, but got 'tensor<?x4xf32>'}}
  %0 = adaptive.map(%a, %b) : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    adaptive.yield %x : f32
  }
  return
}

// -----

// map C2
func.func @f(%a: tensor<8xf32>) {
  // expected-error @+1 {{one operand at least must be rows}}
  %0 = adaptive.map(%a) : (tensor<8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32):
    adaptive.yield %x : f32
  }
  return
}

// -----

// map C3
func.func @f(%a: tensor<?x8xf32>) {
  // expected-error @+1 {{result must be rows tensor<?xDxf32>}}
  %0 = adaptive.map(%a) : (tensor<?x8xf32>) -> tensor<8xf32> {
  ^bb0(%x: f32):
    adaptive.yield %x : f32
  }
  return
}

// -----

// map C4
func.func @f(%a: tensor<?x8xf32>) {
  // expected-error @+1 {{region must take 1 values of f32}}
  %0 = adaptive.map(%a) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32, %y: f32):
    adaptive.yield %x : f32
  }
  return
}

// -----

// map C5
func.func @f(%a: tensor<?x8xf32>) {
  // expected-error @+1 {{region must yield one f32}}
  %0 = adaptive.map(%a) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32):
    %y = arith.extf %x : f32 to f64
    adaptive.yield %y : f64
  }
  return
}

// -----

// map C6
func.func @f(%a: tensor<?x8xf32>) {
  // expected-error @+1 {{region may hold arith and math ops only, but has adaptive.map}}
  %0 = adaptive.map(%a) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
  ^bb0(%x: f32):
    %b = adaptive.map(%a) : (tensor<?x8xf32>) -> tensor<?x8xf32> {
    ^bb0(%y: f32):
      adaptive.yield %y : f32
    }
    adaptive.yield %x : f32
  }
  return
}

// -----

// rope C1
func.func @f(%q: tensor<?x8xf32>, %t: tensor<8xf32>) {
  // expected-error @+1 {{tables must be of one type [positions, R/2]}}
  %0 = adaptive.rope %q, %t, %t head_dim 4 : tensor<?x8xf32>, tensor<8xf32>
  return
}

// -----

// rope C1
func.func @f(%q: tensor<?x8xf32>, %c: tensor<8x2xf32>, %s: tensor<9x2xf32>) {
  // expected-error @+1 {{tables must be of one type [positions, R/2]}}
  %0 = "adaptive.rope"(%q, %c, %s) {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<8x2xf32>, tensor<9x2xf32>) -> tensor<?x8xf32>
  return
}

// -----

// rope C2
func.func @f(%q: tensor<?x8xf32>, %t: tensor<8x2xf32>) {
  // expected-error @+1 {{head_dim must divide the row width 8, but got 5}}
  %0 = adaptive.rope %q, %t, %t head_dim 5 : tensor<?x8xf32>, tensor<8x2xf32>
  return
}

// -----

// rope C2
func.func @f(%q: tensor<?x8xf32>, %t: tensor<8x2xf32>) {
  // expected-error @+1 {{head_dim must divide the row width 8, but got 0}}
  %0 = adaptive.rope %q, %t, %t head_dim 0 : tensor<?x8xf32>, tensor<8x2xf32>
  return
}

// -----

// rope C3
func.func @f(%q: tensor<?x8xf32>, %t: tensor<8x4xf32>) {
  // expected-error @+1 {{tables rotate 8 elements of a head of 4}}
  %0 = adaptive.rope %q, %t, %t head_dim 4 : tensor<?x8xf32>, tensor<8x4xf32>
  return
}

// -----

// sample C1
func.func @f(%l: tensor<8xf32>) {
  // expected-error @+1 {{draws tensor<?xi32> from tensor<?xVxf32>}}
  %0 = adaptive.sample %l : tensor<8xf32> -> tensor<?xi32>
  return
}

// -----

// sample C1
func.func @f(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{draws tensor<?xi32> from tensor<?xVxf32>}}
  %0 = adaptive.sample %l : tensor<?x8xf32> -> tensor<?x1xi32>
  return
}

// RUN: ee-opt %s -allow-unregistered-dialect -split-input-file -verify-diagnostics

// A keyword that is no criterion.
func.func @f(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{expected one of [max_prob, margin, entropy, cosine, probe] for what an exit point scores, got: best}}
  %s = adaptive.criteria best %l : tensor<?x8xf32> -> tensor<?xf32>
  return
}

// -----

// criteria C1
func.func @f(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{criterion of logits must be max_prob, margin or entropy, but got probe}}
  %s = adaptive.criteria probe %l : tensor<?x8xf32> -> tensor<?xf32>
  return
}

// -----

// criteria C2
func.func @f(%l: tensor<?x8xf32>) {
  // expected-error @+1 {{scores tensor<?xf32> from tensor<?xVxf32>}}
  %s = adaptive.criteria margin %l : tensor<?x8xf32> -> tensor<?x1xf32>
  return
}

// -----

// criteria C2
func.func @f(%l: tensor<4x8xf32>) {
  // expected-error @+1 {{scores tensor<?xf32> from tensor<?xVxf32>}}
  %s = adaptive.criteria margin %l : tensor<4x8xf32> -> tensor<?xf32>
  return
}

// -----

// probe C1: the weight.
func.func @f(%h: tensor<?x8xf32>, %w: tensor<9xf32>, %b: tensor<1xf32>) {
  // expected-error @+1 {{weight must be [8] and bias [1], but got 'tensor<9xf32>' and 'tensor<1xf32>'}}
  %s = adaptive.probe %h, %w, %b : tensor<?x8xf32>, tensor<9xf32>, tensor<1xf32> -> tensor<?xf32>
  return
}

// -----

// probe C1: the weight.
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8x1xf32>, %b: tensor<1xf32>) {
  // expected-error @+1 {{weight must be [8] and bias [1], but got 'tensor<8x1xf32>' and 'tensor<1xf32>'}}
  %s = adaptive.probe %h, %w, %b : tensor<?x8xf32>, tensor<8x1xf32>, tensor<1xf32> -> tensor<?xf32>
  return
}

// -----

// probe C1: the bias.
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8xf32>, %b: tensor<2xf32>) {
  // expected-error @+1 {{weight must be [8] and bias [1], but got 'tensor<8xf32>' and 'tensor<2xf32>'}}
  %s = adaptive.probe %h, %w, %b : tensor<?x8xf32>, tensor<8xf32>, tensor<2xf32> -> tensor<?xf32>
  return
}

// -----

// probe C2
func.func @f(%h: tensor<?x8xf32>, %w: tensor<8xf32>, %b: tensor<1xf32>) {
  // expected-error @+1 {{score must be tensor<?xf32>}}
  %s = adaptive.probe %h, %w, %b : tensor<?x8xf32>, tensor<8xf32>, tensor<1xf32> -> tensor<4xf32>
  return
}

// -----

// cosine C1
func.func @f(%h: tensor<8xf32>) {
  // expected-error @+1 {{scores tensor<?xf32> from two tensors <?xDxf32>}}
  %s = adaptive.cosine %h, %h : tensor<8xf32> -> tensor<?xf32>
  return
}

// -----

// cosine C1
func.func @f(%h: tensor<?x8xf32>, %p: tensor<?x9xf32>) {
  // expected-error @+1 {{scores tensor<?xf32> from two tensors <?xDxf32>}}
  %s = "adaptive.cosine"(%p, %h) : (tensor<?x9xf32>, tensor<?x8xf32>) -> tensor<?xf32>
  return
}

// -----

// cosine C2
func.func @f(%h: tensor<?x8xf32>) {
  // expected-error @+1 {{scores tensor<?xf32> from two tensors <?xDxf32>}}
  %s = adaptive.cosine %h, %h : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// exit C1
func.func @f(%e: tensor<?x8xf32>, %s: tensor<?x1xf32>) {
  // expected-error @+1 {{score must be tensor<?xf32>}}
  %0 = adaptive.exit %e, %e score %s state %e index 0 depth 0 threshold 0.0 criterion probe fill exact name "e" : tensor<?x8xf32>, tensor<?x1xf32>, tensor<?x8xf32>
  return
}

// -----

// exit C2
func.func @f(%e: tensor<?x8xf32>, %s: tensor<?xf32>) {
  // expected-error @+1 {{index must lie in [0, 32), but got -1}}
  %0 = adaptive.exit %e, %e score %s state %e index -1 depth 0 threshold 0.0 criterion probe fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
  return
}

// -----

// exit C2
func.func @f(%e: tensor<?x8xf32>, %s: tensor<?xf32>) {
  // expected-error @+1 {{index must lie in [0, 32), but got 32}}
  %0 = adaptive.exit %e, %e score %s state %e index 32 depth 0 threshold 0.0 criterion probe fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
  return
}

// -----

// exit C3
func.func @f(%e: tensor<?x8xf32>, %s: tensor<?xf32>) {
  // expected-error @+1 {{depth must not be negative, but got -2}}
  %0 = adaptive.exit %e, %e score %s state %e index 0 depth -2 threshold 0.0 criterion probe fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
  return
}

// -----

// exit C4
func.func @f(%e: tensor<?x8xf32>, %s: tensor<?xf32>) {
  // expected-error @+1 {{threshold must be a number}}
  %0 = adaptive.exit %e, %e score %s state %e index 0 depth 0 threshold 0x7FF8000000000000 criterion probe fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
  return
}

// -----

// decide C1
func.func @f(%s: tensor<?x1xf32>) {
  // expected-error @+1 {{decides tensor<?xi1> from tensor<?xf32>}}
  %d = adaptive.decide %s index 0 depth 0 : tensor<?x1xf32> -> tensor<?xi1>
  return
}

// -----

// decide C1
func.func @f(%s: tensor<?xf32>) {
  // expected-error @+1 {{decides tensor<?xi1> from tensor<?xf32>}}
  %d = adaptive.decide %s index 0 depth 0 : tensor<?xf32> -> tensor<4xi1>
  return
}

// -----

// decide C2
func.func @f(%s: tensor<?xf32>) {
  // expected-error @+1 {{index must lie in [0, 32), but got 40}}
  %d = adaptive.decide %s index 40 depth 0 : tensor<?xf32> -> tensor<?xi1>
  return
}

// -----

// decide C3
func.func @f(%s: tensor<?xf32>) {
  // expected-error @+1 {{depth must not be negative, but got -1}}
  %d = adaptive.decide %s index 0 depth -1 : tensor<?xf32> -> tensor<?xi1>
  return
}

// -----

// select C1
func.func @f(%m: tensor<?x8xi1>, %a: tensor<?x8xf32>) {
  // expected-error @+1 {{mask must be tensor<?xi1>}}
  %0 = adaptive.select %m, %a, %a : tensor<?x8xi1>, tensor<?x8xf32>
  return
}

// -----

// leave C1
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %d = "test.mask"() : () -> tensor<4xi1>
  // expected-error @+1 {{decision must be tensor<?xi1>}}
  adaptive.leave %d index 0 depth 0 fill exact name "e" : tensor<4xi1> {
    adaptive.yield %ids : tensor<?xi32>
  }
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// leave C2
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %d = "test.mask"() : () -> tensor<?xi1>
  // expected-error @+1 {{index must lie in [0, 32), but got 32}}
  adaptive.leave %d index 32 depth 0 fill exact name "e" : tensor<?xi1> {
    adaptive.yield %ids : tensor<?xi32>
  }
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// leave C3
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %d = "test.mask"() : () -> tensor<?xi1>
  // expected-error @+1 {{depth must not be negative, but got -1}}
  adaptive.leave %d index 0 depth -1 fill exact name "e" : tensor<?xi1> {
    adaptive.yield %ids : tensor<?xi32>
  }
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// leave C4
func.func @f(%d: tensor<?xi1>) {
  // expected-error @+1 {{must stand in a model and end in a yield}}
  adaptive.leave %d index 0 depth 0 fill exact name "e" : tensor<?xi1> {
    adaptive.yield
  }
  return
}

// -----

// leave C5
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %d, %l = "test.mask"() : () -> (tensor<?xi1>, tensor<?x8xf32>)
  // expected-error @+1 {{region must yield what the model yields}}
  adaptive.leave %d index 0 depth 0 fill exact name "e" : tensor<?xi1> {
    adaptive.yield %ids : tensor<?xi32>
  }
  adaptive.yield %l : tensor<?x8xf32>
}

// -----

// exit C5
func.func @f(%e: tensor<?x8xf32>, %s: tensor<?xf32>, %h: tensor<8xf32>) {
  // expected-error @+1 {{state must be rows tensor<?xDxf32>}}
  %0 = adaptive.exit %e, %e score %s state %h index 0 depth 0 threshold 0.0 criterion probe fill exact name "e" : tensor<?x8xf32>, tensor<?xf32>, tensor<8xf32>
  return
}

// -----

// or C1
func.func @f(%m: tensor<4xi1>) {
  // expected-error @+1 {{masks must be tensor<?xi1>}}
  %0 = adaptive.or %m, %m : tensor<4xi1>
  return
}

// -----

// or C1
func.func @f(%m: tensor<?xi1>, %n: tensor<4xi1>) {
  // expected-error @+1 {{failed to verify that all of {lhs, rhs, result} have same type}}
  %0 = "adaptive.or"(%m, %n) : (tensor<?xi1>, tensor<4xi1>) -> tensor<?xi1>
  return
}

// -----

// mark_depth C1
func.func @f(%m: tensor<?x2xi1>) {
  // expected-error @+1 {{mask must be tensor<?xi1>}}
  adaptive.mark_depth %m depth 0 : tensor<?x2xi1>
  return
}

// -----

// mark_depth C2
func.func @f(%m: tensor<?xi1>) {
  // expected-error @+1 {{depth must not be negative, but got -3}}
  adaptive.mark_depth %m depth -3 : tensor<?xi1>
  return
}

// -----

// leave C6
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %d = "test.mask"() : () -> tensor<?xi1>
  // expected-error @+1 {{state must be given exactly under propagate}}
  adaptive.leave %d index 0 depth 0 fill propagate name "e" : tensor<?xi1> {
    adaptive.yield %ids : tensor<?xi32>
  }
  adaptive.yield %ids : tensor<?xi32>
}

// -----

// leave C6
adaptive.model @m max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %d, %h = "test.mask"() : () -> (tensor<?xi1>, tensor<?x8xf32>)
  // expected-error @+1 {{state must be given exactly under propagate}}
  adaptive.leave %d index 0 depth 0 fill exact state %h : tensor<?x8xf32> name "e" : tensor<?xi1> {
    adaptive.yield %ids : tensor<?xi32>
  }
  adaptive.yield %ids : tensor<?xi32>
}

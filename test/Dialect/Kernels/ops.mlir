// RUN: ee-opt %s | ee-opt | FileCheck %s
// RUN: ee-opt %s --emit-bytecode | ee-opt | FileCheck %s
// RUN: ee-opt %s --mlir-print-op-generic | ee-opt | FileCheck %s

// CHECK-LABEL: func.func @embed(
func.func @embed(%ids: tensor<?xi32>, %t: tensor<320x64xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: adaptive.embed %{{.*}}, %{{.*}} : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  %0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<320x64xf32> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @norm(
func.func @norm(%h: tensor<?x64xf32>, %w: tensor<64xf32>, %g: tensor<16xf32>) {
  // CHECK-NEXT: adaptive.norm rms %{{.*}}, %{{.*}} epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32>
  %0 = adaptive.norm rms %h, %w epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  // Four groups of 16: a norm per head.
  // CHECK-NEXT: adaptive.norm rms %{{.*}}, %{{.*}} epsilon 0.000000e+00 : tensor<?x64xf32>, tensor<16xf32>
  %1 = adaptive.norm rms %h, %g epsilon 0.0 : tensor<?x64xf32>, tensor<16xf32>
  // CHECK-NEXT: adaptive.norm layer %{{.*}}, %{{.*}}, %{{.*}} : tensor<64xf32> epsilon 1.000000e-05 : tensor<?x64xf32>, tensor<64xf32>
  %2 = adaptive.norm layer %h, %w, %w : tensor<64xf32> epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  // CHECK-NEXT: adaptive.norm layer %{{.*}}, %{{.*}} epsilon
  %3 = adaptive.norm layer %h, %w epsilon 1.0e-05 : tensor<?x64xf32>, tensor<64xf32>
  return
}

// CHECK-LABEL: func.func @linear(
func.func @linear(%x: tensor<?x64xf32>, %wq: tensor<64x64xf32>, %wk: tensor<32x64xf32>,
                  %bias: tensor<64xf32>, %rest: tensor<?x64xf32>) {
  // CHECK-NEXT: adaptive.linear %{{.*}} weights(%{{.*}}, %{{.*}}) : tensor<?x64xf32>, (tensor<64x64xf32>, tensor<32x64xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>)
  %q, %k = adaptive.linear %x weights(%wq, %wk) : tensor<?x64xf32>, (tensor<64x64xf32>, tensor<32x64xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>)
  // CHECK-NEXT: adaptive.linear %{{.*}} weights(%{{.*}}) extras(%{{.*}}, %{{.*}} : tensor<64xf32>, tensor<?x64xf32>) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>) epilogue {
  // CHECK-NEXT: ^bb0(%[[S:.*]]: f32, %[[B:.*]]: f32, %[[R:.*]]: f32):
  // CHECK-NEXT: %[[T:.*]] = arith.addf %[[S]], %[[B]] : f32
  // CHECK-NEXT: %[[U:.*]] = arith.addf %[[T]], %[[R]] : f32
  // CHECK-NEXT: adaptive.yield %[[U]] : f32
  %y = adaptive.linear %x weights(%wq) extras(%bias, %rest : tensor<64xf32>, tensor<?x64xf32>) : tensor<?x64xf32>, (tensor<64x64xf32>) -> (tensor<?x64xf32>) epilogue {
  ^bb0(%s: f32, %b: f32, %r: f32):
    %t = arith.addf %s, %b : f32
    %u = arith.addf %t, %r : f32
    adaptive.yield %u : f32
  }
  // The gate of an MLP: two weights, one result.
  // CHECK: adaptive.linear %{{.*}} weights(%{{.*}}, %{{.*}}) : tensor<?x64xf32>, (tensor<64x64xf32>, tensor<64x64xf32>) -> (tensor<?x64xf32>) epilogue {
  %g = adaptive.linear %x weights(%wq, %wq) : tensor<?x64xf32>, (tensor<64x64xf32>, tensor<64x64xf32>) -> (tensor<?x64xf32>) epilogue {
  ^bb0(%a: f32, %b: f32):
    %t = math.tanh %a : f32
    %u = arith.mulf %t, %b : f32
    adaptive.yield %u : f32
  }
  return
}

// CHECK-LABEL: func.func @map(
func.func @map(%a: tensor<?x64xf32>, %b: tensor<64xf32>) {
  // CHECK-NEXT: adaptive.map(%{{.*}}, %{{.*}}) : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32> {
  // CHECK-NEXT: ^bb0(%{{.*}}: f32, %{{.*}}: f32):
  %0 = adaptive.map(%a, %b) : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32> {
  ^bb0(%x: f32, %y: f32):
    %z = arith.addf %x, %y : f32
    adaptive.yield %z : f32
  }
  return
}

// CHECK-LABEL: func.func @rope(
func.func @rope(%q: tensor<?x64xf32>, %t: tensor<128x8xf32>) {
  // CHECK-NEXT: adaptive.rope %{{.*}}, %{{.*}}, %{{.*}} head_dim 16 : tensor<?x64xf32>, tensor<128x8xf32>
  %0 = adaptive.rope %q, %t, %t head_dim 16 : tensor<?x64xf32>, tensor<128x8xf32>
  // Half of each head turns, in pairs.
  // CHECK-NEXT: adaptive.rope %{{.*}}, %{{.*}}, %{{.*}} head_dim 32 interleaved : tensor<?x64xf32>, tensor<128x8xf32>
  %1 = adaptive.rope %q, %t, %t head_dim 32 interleaved : tensor<?x64xf32>, tensor<128x8xf32>
  return
}

// CHECK-LABEL: func.func @sample(
func.func @sample(%l: tensor<?x320xf32>) -> tensor<?xi32> {
  // CHECK-NEXT: adaptive.sample %{{.*}} : tensor<?x320xf32> -> tensor<?xi32>
  %0 = adaptive.sample %l : tensor<?x320xf32> -> tensor<?xi32>
  return %0 : tensor<?xi32>
}

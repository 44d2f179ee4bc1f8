// Matrices of layers take `format`, those outside and the embedding take `head`
// (q8 by default under q4), vectors and tables stay plain, and a matrix that both
// read keeps the head's format.
//
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights{format=q4})' | FileCheck %s --check-prefixes=CHECK,Q4
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights{format=q8})' | FileCheck %s --check-prefixes=CHECK,Q8
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights{format=q4 head=bf16})' | FileCheck %s --check-prefixes=CHECK,HEAD
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights)' | FileCheck %s --check-prefixes=CHECK,DEFAULT
// The pass decides anew when it runs again.
// RUN: ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights{format=bf16},adaptive-pack-weights{format=q4})' | FileCheck %s --check-prefixes=CHECK,Q4

// Q4: adaptive.weight @embed {{.*}} format q8{{$}}
// Q8: adaptive.weight @embed {{.*}} format q8{{$}}
// HEAD: adaptive.weight @embed {{.*}} format bf16{{$}}
// DEFAULT: adaptive.weight @embed {{.*}} format f32{{$}}
adaptive.weight @embed : tensor<8x4xf32> source "m.onnx" tensor "t"
// Q4: adaptive.weight @head {{.*}} format q8{{$}}
// Q8: adaptive.weight @head {{.*}} format q8{{$}}
// HEAD: adaptive.weight @head {{.*}} format bf16{{$}}
// DEFAULT: adaptive.weight @head {{.*}} format f32{{$}}
adaptive.weight @head : tensor<8x4xf32> source "m.onnx" tensor "h"
// Q4: adaptive.weight @shared {{.*}} format q8{{$}}
// Q8: adaptive.weight @shared {{.*}} format q8{{$}}
// HEAD: adaptive.weight @shared {{.*}} format bf16{{$}}
// DEFAULT: adaptive.weight @shared {{.*}} format f32{{$}}
adaptive.weight @shared : tensor<4x4xf32> source "m.onnx" tensor "s"
// CHECK: adaptive.weight @scale {{.*}} format plain{{$}}
adaptive.weight @scale : tensor<4xf32> source "m.onnx" tensor "n"
// Q4: adaptive.weight @w0 {{.*}} format q4{{$}}
// Q8: adaptive.weight @w0 {{.*}} format q8{{$}}
// HEAD: adaptive.weight @w0 {{.*}} format q4{{$}}
// DEFAULT: adaptive.weight @w0 {{.*}} format f32{{$}}
adaptive.weight @w0 : tensor<4x4xf32> source "m.onnx" tensor "w0"
// Q4: adaptive.weight @w1 {{.*}} format q4{{$}}
// Q8: adaptive.weight @w1 {{.*}} format q8{{$}}
// HEAD: adaptive.weight @w1 {{.*}} format q4{{$}}
// DEFAULT: adaptive.weight @w1 {{.*}} format f32{{$}}
adaptive.weight @w1 : tensor<4x4xf32> source "m.onnx" tensor "w1"
// CHECK: adaptive.weight @unread {{.*}} format plain{{$}}
adaptive.weight @unread : tensor<4x4xf32> source "m.onnx" tensor "u"
// CHECK: adaptive.table @cos {{.*}}xf32>{{$}}
adaptive.table @cos "cos" [1.0, 0.1] : tensor<8x2xf32>
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %n: tensor<4xf32>, %w: tensor<4x4xf32>, %c: tensor<8x2xf32>):
  %x = adaptive.norm rms %h, %n epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  %r = adaptive.rope %x, %c, %c head_dim 4 : tensor<?x4xf32>, tensor<8x2xf32>
  %o = adaptive.linear %r weights(%w) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>)
  adaptive.yield %o : tensor<?x4xf32>
}
adaptive.model @main max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @embed : tensor<8x4xf32>
  %w = adaptive.use @head : tensor<8x4xf32>
  %s = adaptive.use @shared : tensor<4x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h1 = adaptive.layers @b(%h0) first 0 weights [[@scale, @w0, @cos], [@scale, @w1, @cos], [@scale, @shared, @cos]] : tensor<?x4xf32>
  %m = adaptive.linear %h1 weights(%s) : tensor<?x4xf32>, (tensor<4x4xf32>) -> (tensor<?x4xf32>)
  %l = adaptive.linear %m weights(%w) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  adaptive.yield %l : tensor<?x8xf32>
}

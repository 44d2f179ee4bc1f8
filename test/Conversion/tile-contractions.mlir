// RUN: ee-opt %s -adaptive-tile-contractions="rows=2 columns=8" | FileCheck %s

// Packed strips, two rows at a time, then one; the result is added to.
// CHECK-LABEL: func.func @product
// CHECK: memref.alloca() : memref<8xf32>
// CHECK: %[[PACKED:.*]] = memref.alloc(%{{.*}}) : memref<?x8xf32>
// CHECK: memref.store %{{.*}}, %[[PACKED]]
// CHECK: iter_args(%{{.*}} = %{{.*}}, %{{.*}} = %{{.*}}) -> (vector<8xf32>, vector<8xf32>)
// CHECK: vector.load %[[PACKED]]
// CHECK: math.fma
// CHECK: math.fma
// CHECK: arith.addf
// CHECK: iter_args(%{{.*}} = %{{.*}}) -> (vector<8xf32>)
// CHECK: memref.dealloc %[[PACKED]]
// CHECK-NOT: linalg.generic
func.func @product(%a: memref<?x?xf32>, %b: memref<?x?xf32>, %c: memref<?x?xf32>) {
  linalg.generic {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : memref<?x?xf32>, memref<?x?xf32>) outs(%c : memref<?x?xf32>) {
  ^bb0(%x: f32, %y: f32, %o: f32):
    %p = arith.mulf %x, %y : f32
    %s = arith.addf %o, %p : f32
    linalg.yield %s : f32
  }
  return
}

// A product of integers, and a sum that multiplies nothing, stay as they are.
// CHECK-LABEL: func.func @others
// CHECK-COUNT-2: linalg.generic
func.func @others(%a: memref<4x4xi32>, %b: memref<4x4xi32>, %c: memref<4x4xi32>, %x: memref<4x4xf32>, %y: memref<4xf32>) {
  linalg.generic {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, affine_map<(m, n, k) -> (m, n)>], iterator_types = ["parallel", "parallel", "reduction"]}
      ins(%a, %b : memref<4x4xi32>, memref<4x4xi32>) outs(%c : memref<4x4xi32>) {
  ^bb0(%p: i32, %q: i32, %o: i32):
    %m = arith.muli %p, %q : i32
    %s = arith.addi %o, %m : i32
    linalg.yield %s : i32
  }
  linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>], iterator_types = ["parallel", "reduction"]} ins(%x : memref<4x4xf32>) outs(%y : memref<4xf32>) {
  ^bb0(%p: f32, %o: f32):
    %s = arith.addf %o, %p : f32
    linalg.yield %s : f32
  }
  return
}

// RUN: ee-opt %s -adaptive-expand-math | FileCheck %s

// The numbers are tested end to end (test_function_math.py); here: nothing that
// needs a library stays.
// CHECK-LABEL: func.func @functions
// CHECK-NOT: math.{{exp|sin|powf|round |rsqrt|atan2}}
// CHECK-NOT: arith.remf
// CHECK: math.sqrt
// CHECK-NOT: math.{{exp|sin|powf|round |rsqrt|atan2}}
// CHECK-NOT: arith.remf
// CHECK: return
func.func @functions(%x: f32, %y: f64) -> (f32, f32, f64, f64, f32, f32, f64) {
  %a = math.exp %x : f32
  %b = math.sin %x : f32
  %c = math.powf %y, %y : f64
  %d = arith.remf %y, %y : f64
  %e = math.round %x : f32
  %f = math.rsqrt %x : f32
  %g = math.atan2 %y, %y : f64
  return %a, %b, %c, %d, %e, %f, %g : f32, f32, f64, f64, f32, f32, f64
}

// What the processor computes stays.
// CHECK-LABEL: func.func @native
// CHECK-NEXT: math.floor
// CHECK-NEXT: math.fma
// CHECK-NEXT: math.roundeven
// CHECK-NEXT: return
func.func @native(%x: f32) -> f32 {
  %a = math.floor %x : f32
  %b = math.fma %a, %x, %x : f32
  %c = math.roundeven %b : f32
  return %c : f32
}

// Divisions are guarded, unless the divisor is known to be harmless.
// CHECK-LABEL: func.func @divisions
// CHECK: %[[OK:.*]] = arith.cmpi ne
// CHECK: cf.assert %[[OK]], "integer division by zero"
// CHECK: %[[BY:.*]] = arith.select
// CHECK: arith.divsi %{{.*}}, %[[BY]]
// CHECK: cf.assert
// CHECK-NEXT: arith.remui
// CHECK-NOT: cf.assert
// CHECK: arith.divsi
func.func @divisions(%x: i32, %y: i32) -> (i32, i32, i32) {
  %c7 = arith.constant 7 : i32
  %a = arith.divsi %x, %y : i32
  %b = arith.remui %x, %y : i32
  %c = arith.divsi %x, %c7 : i32
  return %a, %b, %c : i32, i32, i32
}

// f64 to bf16 goes through an f32 that is rounded to odd; flags that let
// roundings go are dropped.
// CHECK-LABEL: func.func @narrow
// CHECK: arith.truncf %{{.*}} : f64 to f32
// CHECK: arith.truncf %{{.*}} : f32 to bf16
// CHECK: arith.extf %{{.*}} : f16 to f32
func.func @narrow(%x: f64, %h: f16) -> (bf16, f32) {
  %a = arith.truncf %x : f64 to bf16
  %b = arith.extf %h fastmath<contract> : f16 to f32
  return %a, %b : bf16, f32
}

// RUN: ee-opt %s -canonicalize -cse | FileCheck %s

// No attend reads the entries here, but later launches do (state propagation).
// CHECK-LABEL: func.func @append_only(
func.func @append_only(%k: tensor<?x8xf32>) {
  // CHECK-NEXT: adaptive.kv_append
  %kv = adaptive.kv_append %k, %k : tensor<?x8xf32> -> !adaptive.kv<2 x 4>
  return
}

// A result of attention that nobody uses goes; the append stays.
// CHECK-LABEL: func.func @unused_attend(
func.func @unused_attend(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>) {
  // CHECK-NEXT: adaptive.kv_append
  // CHECK-NEXT: return
  %kv = adaptive.kv_append %k, %k : tensor<?x8xf32> -> !adaptive.kv<2 x 4>
  %a = adaptive.attend %q, %kv heads 2 scale 0.5 : tensor<?x8xf32>, !adaptive.kv<2 x 4>
  return
}

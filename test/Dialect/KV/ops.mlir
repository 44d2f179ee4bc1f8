// RUN: ee-opt %s | ee-opt | FileCheck %s
// RUN: ee-opt %s --emit-bytecode | ee-opt | FileCheck %s
// RUN: ee-opt %s --mlir-print-op-generic | ee-opt | FileCheck %s

// CHECK-LABEL: func.func @kv(
// CHECK-SAME: %[[Q:.*]]: tensor<?x24xf32>, %[[K:.*]]: tensor<?x8xf32>, %[[V:.*]]: tensor<?x8xf32>
func.func @kv(%q: tensor<?x24xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>) -> tensor<?x24xf32> {
  // CHECK-NEXT: %[[KV:.*]] = adaptive.kv_append %[[K]], %[[V]] : tensor<?x8xf32> -> !adaptive.kv<2 x 4>
  %kv = adaptive.kv_append %k, %v : tensor<?x8xf32> -> !adaptive.kv<2 x 4>
  // CHECK-NEXT: adaptive.attend %[[Q]], %[[KV]] heads 6 scale 5.000000e-01 : tensor<?x24xf32>, !adaptive.kv<2 x 4>
  %a = adaptive.attend %q, %kv heads 6 scale 0.5 : tensor<?x24xf32>, !adaptive.kv<2 x 4>
  return %a : tensor<?x24xf32>
}

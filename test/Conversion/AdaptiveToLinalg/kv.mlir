// Keys and values, dense.
//
// RUN: ee-opt %s -adaptive-to-linalg | FileCheck %s --implicit-check-not='= adaptive.'

// A KV value becomes two tensors.
// CHECK-LABEL: func.func @attend(
// CHECK-SAME:    %[[Q:[^:]*]]: tensor<?x8xf32>,
// CHECK-SAME:    %[[K:[^:]*]]: tensor<?x?x4xf32> {adaptive.column = "keys"},
// CHECK-SAME:    %[[V:[^:]*]]: tensor<?x?x4xf32> {adaptive.column = "values"},
// CHECK-SAME:    {adaptive.column = "sequence"}
// CHECK-SAME:    {adaptive.column = "position"}) -> tensor<?x8xf32>
// CHECK:         tensor.expand_shape %[[Q]]
// CHECK:         linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "parallel", "reduction"]
// CHECK:           tensor.extract %[[K]]
// CHECK:         linalg.generic
// CHECK:           arith.cmpi ule
// CHECK:         linalg.generic
// CHECK:           arith.maximumf
// CHECK:         linalg.generic
// CHECK:           math.exp
// CHECK:         linalg.generic
// CHECK:         linalg.generic
// CHECK:           tensor.extract %[[V]]
// CHECK:         linalg.generic
// CHECK:           arith.divf
// CHECK:         tensor.collapse_shape
func.func @attend(%q: tensor<?x8xf32>, %kv: !adaptive.kv<2 x 2>) -> tensor<?x8xf32> {
  %y = adaptive.attend %q, %kv heads 4 scale 0.5 : tensor<?x8xf32>, !adaptive.kv<2 x 2>
  return %y : tensor<?x8xf32>
}

// An append starts from what was there and gives it back; attention sees it.
// CHECK-LABEL: func.func @append(
// CHECK-SAME:    %[[OLDK:[^:]*]]: tensor<?x?x4xf32> {adaptive.column = "keys"},
// CHECK-SAME:    %[[OLDV:[^:]*]]: tensor<?x?x4xf32> {adaptive.column = "values"},
// CHECK-SAME:    -> (tensor<?x4xf32>, tensor<?x?x4xf32> {adaptive.column = "keys"}, tensor<?x?x4xf32> {adaptive.column = "values"})
// CHECK:         %[[NEW:.*]]:2 = scf.for {{.*}} iter_args(%{{.*}} = %[[OLDK]], %{{.*}} = %[[OLDV]])
// CHECK:           tensor.insert_slice
// CHECK:           tensor.insert_slice
// CHECK:         tensor.extract %[[NEW]]#0
// CHECK:         tensor.extract %[[NEW]]#1
// CHECK:         return %{{.*}}, %[[NEW]]#0, %[[NEW]]#1
func.func @append(%q: tensor<?x4xf32>, %k: tensor<?x4xf32>, %v: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %kv = adaptive.kv_append %k, %v : tensor<?x4xf32> -> !adaptive.kv<1 x 4>
  %y = adaptive.attend %q, %kv heads 1 scale 0.5 : tensor<?x4xf32>, !adaptive.kv<1 x 4>
  return %y : tensor<?x4xf32>
}

// Decisions and what they do to rows.
//
// RUN: ee-opt %s -adaptive-to-linalg | FileCheck %s --implicit-check-not='adaptive.decide' --implicit-check-not='adaptive.exit' --implicit-check-not='adaptive.select' --implicit-check-not='adaptive.or' --implicit-check-not='adaptive.mark'

// Everything a decision looks at is an argument.
// CHECK-LABEL: func.func @decide(
// CHECK-SAME:    %[[SCORE:[^:]*]]: tensor<?xf32>,
// CHECK-SAME:    %[[POLICIES:[^:]*]]: tensor<?x64xi32> {adaptive.column = "policies"},
// CHECK-SAME:    tensor<?xi32> {adaptive.column = "script"}
// CHECK-SAME:    tensor<?xi32> {adaptive.column = "flags"}
// CHECK-SAME:    tensor<?xi32> {adaptive.column = "policy"}
// CHECK-SAME:    tensor<?xi32> {adaptive.column = "position"}
// CHECK-SAME:    -> tensor<?xi1>
// CHECK:         linalg.generic
// CHECK:           tensor.extract %[[POLICIES]]
// CHECK:           math.exp
// CHECK:           arith.cmpf oge
func.func @decide(%s: tensor<?xf32>) -> tensor<?xi1> {
  %d = adaptive.decide %s index 3 depth 12 : tensor<?xf32> -> tensor<?xi1>
  return %d : tensor<?xi1>
}

// An exit is its decision and a select: the dense reading.
// CHECK-LABEL: func.func @exit(
// CHECK:         %[[D:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<?xi1>)
// CHECK:         %[[Y:.*]] = linalg.generic {{.*}} ins(%[[D]], %arg0, %arg1 :
// CHECK:           arith.select
// CHECK:         return %[[Y]]
func.func @exit(%e: tensor<?x8xf32>, %r: tensor<?x8xf32>, %s: tensor<?xf32>, %h: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %y = adaptive.exit %e, %r score %s state %h index 0 depth 1 threshold 1.0 criterion probe fill exact name "e1" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x4xf32>
  return %y : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @select(
// CHECK:         linalg.generic {{.*}} ins(%arg0, %arg1, %arg2 : tensor<?xi1>, tensor<?x8xf32>, tensor<?x8xf32>)
func.func @select(%m: tensor<?xi1>, %a: tensor<?x8xf32>, %b: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = adaptive.select %m, %a, %b : tensor<?xi1>, tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @or(
// CHECK:         arith.ori
func.func @or(%a: tensor<?xi1>, %b: tensor<?xi1>) -> tensor<?xi1> {
  %m = adaptive.or %a, %b : tensor<?xi1>
  return %m : tensor<?xi1>
}

// A column that ops change is a result; the second op sees what the first did.
// CHECK-LABEL: func.func @mark(
// CHECK-SAME:    %[[A:[^:]*]]: tensor<?xi1>, %[[B:[^:]*]]: tensor<?xi1>, %[[D:[^:]*]]: tensor<?xi32> {adaptive.column = "depth"})
// CHECK-SAME:    -> (tensor<?xi32> {adaptive.column = "depth"})
// CHECK:         %[[FIRST:.*]] = linalg.generic {{.*}} ins(%[[A]], %[[D]] :
// CHECK:         %[[SECOND:.*]] = linalg.generic {{.*}} ins(%[[B]], %[[FIRST]] :
// CHECK:         return %[[SECOND]]
func.func @mark(%a: tensor<?xi1>, %b: tensor<?xi1>) {
  adaptive.mark_depth %a depth 12 : tensor<?xi1>
  adaptive.mark_depth %b depth 24 : tensor<?xi1>
  return
}

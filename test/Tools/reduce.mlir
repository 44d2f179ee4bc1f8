// The reducer keeps what the script asks for and drops the rest.
// REQUIRES: ee-reduce
// RUN: ee-reduce %s -reduction-tree='traversal-mode=0 test=%S/Inputs/has-exit.sh' -o %t 2>/dev/null
// RUN: FileCheck %s < %t

// CHECK-NOT: @before
func.func @before(%a: tensor<?x8xf32>, %m: tensor<?xi1>) -> tensor<?x8xf32> {
  %0 = adaptive.select %m, %a, %a : tensor<?xi1>, tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK: func.func @exits
// CHECK: adaptive.exit
func.func @exits(%e: tensor<?x8xf32>, %r: tensor<?x8xf32>, %s: tensor<?xf32>) -> tensor<?x8xf32> {
  %0 = adaptive.exit %e, %r score %s state %e index 0 depth 2 threshold 0.9 criterion probe fill exact name "e2" : tensor<?x8xf32>, tensor<?xf32>, tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-NOT: @after
func.func @after(%a: tensor<?x8xf32>) {
  return
}

// A file per pass that changed something.
// RUN: rm -rf %t && ee-opt %s -canonicalize -cse -symbol-dce -mlir-print-ir-after-all -o /dev/null 2>%t.txt
// RUN: %python %ee_source/utils/split-dump.py %t.txt %t | FileCheck %s
// RUN: FileCheck %s --check-prefix=BODY < %t/000-canonicalize.mlir
// CHECK: 000 canonicalize: {{.*}}000-canonicalize.mlir
// CHECK: 001 cse: unchanged
// CHECK: 002 symbol-dce: {{.*}}002-symbol-dce.mlir
// RUN: echo nothing > %t.none
// RUN: not %python %ee_source/utils/split-dump.py %t.none %t 2>&1 | FileCheck %s --check-prefix=NONE
// NONE: error: no dumps in

// BODY: module {
// BODY: @unused
module {
  func.func private @unused(%a: tensor<?x8xf32>, %m: tensor<?xi1>) -> tensor<?x8xf32> {
    %0 = adaptive.select %m, %a, %a : tensor<?xi1>, tensor<?x8xf32>
    return %0 : tensor<?x8xf32>
  }
}

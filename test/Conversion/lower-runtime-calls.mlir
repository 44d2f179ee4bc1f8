// RUN: ee-opt %s -adaptive-lower-runtime-calls | FileCheck %s

// CHECK: llvm.mlir.global internal constant @[[MEMORY:.*]]("not enough memory
// CHECK: llvm.mlir.global internal constant @[[TOO_FEW:.*]]("too few\00")
// CHECK: func.func @main(%[[ARGS:.*]]: !llvm.ptr, %{{.*}}: memref<?xf32>)
// CHECK: llvm.mlir.addressof @[[TOO_FEW]]
// CHECK: cf.cond_br %{{.*}}, ^[[NEXT:.*]], ^[[FAILED:.*]](%{{.*}} : !llvm.ptr)
// CHECK: ^[[NEXT]]:
// CHECK: %[[P:.*]] = llvm.call @ee_allocate(%[[ARGS]],
// CHECK: cf.cond_br %{{.*}}, ^[[THERE:.*]], ^[[FAILED]]
// CHECK: ^[[THERE]]:
// CHECK: llvm.call @ee_release(%[[ARGS]],
// CHECK: return
// CHECK: ^[[FAILED]](%[[WHY:.*]]: !llvm.ptr):
// CHECK: llvm.store %[[WHY]]
// CHECK: ub.poison : memref<?xf32>
// CHECK: llvm.func @ee_allocate({{.*}}) -> (!llvm.ptr {llvm.noalias})
// CHECK-NOT: memref.alloc
// CHECK-NOT: cf.assert
func.func @main(%x: memref<?xf32>) -> memref<?xf32> {
  %c0 = arith.constant 0 : index
  %n = memref.dim %x, %c0 : memref<?xf32>
  %ok = arith.cmpi ne, %n, %c0 : index
  cf.assert %ok, "too few"
  %a = memref.alloc(%n) : memref<?x4xf32>
  memref.dealloc %a : memref<?x4xf32>
  return %x : memref<?xf32>
}

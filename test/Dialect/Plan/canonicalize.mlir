// RUN: ee-opt %s -canonicalize | FileCheck %s

// A plan has nothing to simplify: levels and stages are symbols that the
// program names, and none may vanish.
// CHECK: adaptive.kv_level @level
adaptive.kv_level @level layers 0 to 2 heads 1 head_dim 4 page 16 fill exact
// CHECK: adaptive.stage @s
adaptive.stage @s reads ["token"] writes ["token"] level @level depth 0 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}
// CHECK: adaptive.program
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  // CHECK-NEXT: %embed = adaptive.node.embed next %s
  %embed = adaptive.node.embed next %s
  // CHECK-NEXT: %s = adaptive.node.run @s next %emit
  %s = adaptive.node.run @s next %emit
  // CHECK-NEXT: %emit = adaptive.node.emit next %embed
  %emit = adaptive.node.emit next %embed
}

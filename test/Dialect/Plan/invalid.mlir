// RUN: ee-opt %s -allow-unregistered-dialect -split-input-file -verify-diagnostics

// kv_level C1
// expected-error @+1 {{needs a non-empty range of layers and positive sizes}}
adaptive.kv_level @level layers 2 to 2 heads 1 head_dim 4 page 16 fill exact

// -----

// kv_level C1
// expected-error @+1 {{needs a non-empty range of layers and positive sizes}}
adaptive.kv_level @level layers 2 to -1 heads 1 head_dim 4 page 16 fill exact

// -----

// kv_level C1
// expected-error @+1 {{needs a non-empty range of layers and positive sizes}}
adaptive.kv_level @level layers -1 to 2 heads 1 head_dim 4 page 16 fill exact

// -----

// kv_level C1
// expected-error @+1 {{needs a non-empty range of layers and positive sizes}}
adaptive.kv_level @level layers 0 to 2 heads 0 head_dim 4 page 16 fill exact

// -----

// kv_level C1
// expected-error @+1 {{needs a non-empty range of layers and positive sizes}}
adaptive.kv_level @level layers 0 to 2 heads 1 head_dim 0 page 16 fill exact

// -----

// kv_level C1
// expected-error @+1 {{needs a non-empty range of layers and positive sizes}}
adaptive.kv_level @level layers 0 to 2 heads 1 head_dim 4 page 0 fill exact

// -----

// kv_level C2
// expected-error @+1 {{overlaps level @other}}
adaptive.kv_level @level layers 0 to 3 heads 1 head_dim 4 page 16 fill exact
adaptive.kv_level @other layers 2 to 4 heads 1 head_dim 4 page 16 fill exact

// -----

// kv_level C3
// expected-error @+1 {{page must have fewer than 2^63 bytes}}
adaptive.kv_level @level layers 0 to 4294967296 heads 4294967296 head_dim 1 page 1 fill exact

// -----

// stage C1
// expected-error @+1 {{body must end in a yield}}
adaptive.stage @s reads ["token"] writes ["token"] depth 0 {
^bb0(%t: tensor<?xi32>):
  "test.end"() : () -> ()
}

// -----

// stage C2
// expected-error @+1 {{reads 2 columns but takes 1 arguments}}
adaptive.stage @s reads ["token", "state"] writes ["token"] depth 0 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// stage C3
// expected-error @+1 {{writes 0 columns but yields 1 values}}
adaptive.stage @s reads ["token"] writes [] depth 0 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// stage C4
// expected-error @+1 {{must name a KV level, but got @absent}}
adaptive.stage @s reads ["token"] writes ["token"] level @absent depth 0 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// stage C5
// expected-error @+1 {{depth must not be negative, but got -1}}
adaptive.stage @s reads ["token"] writes ["token"] depth -1 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// stage C5
// expected-error @+1 {{exit must lie in [0, 32), but got 32}}
adaptive.stage @s reads ["token"] writes ["token"] depth 0 exit 32 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// stage C6
// expected-error @+1 {{max_rows must lie in [1, 65536], but got 0}}
adaptive.stage @s reads ["token"] writes ["token"] depth 0 max_rows 0 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// stage C6
// expected-error @+1 {{max_rows must lie in [1, 65536], but got 65537}}
adaptive.stage @s reads ["token"] writes ["token"] depth 0 max_rows 65537 {
^bb0(%t: tensor<?xi32>):
  adaptive.yield %t : tensor<?xi32>
}

// -----

// program C1
// expected-error @+1 {{body must take no arguments, but takes 1}}
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
^bb0(%x: !adaptive.node):
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// program C1
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %warp
  // expected-error @+1 {{is in a program, which holds nodes only}}
  %warp = "test.warp"(%emit) : (!adaptive.node) -> !adaptive.node
  %emit = adaptive.node.emit next %embed
}

// -----

// program: kinds are those of the dialect.
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  // expected-error @+1 {{custom op 'adaptive.node.warp' is unknown}}
  %embed = adaptive.node.warp next %embed
}

// -----

// program: every edge leads to a node.
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  // expected-error @+1 {{use of undeclared SSA value name}}
  %embed = adaptive.node.embed next %nowhere
  %emit = adaptive.node.emit next %embed
}

// -----

// program: edges are no values of other types.
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  // expected-error @+1 {{operand #0 must be a node of the depth program, but got 'i32'}}
  %embed = "adaptive.node.embed"(%x) : (i32) -> !adaptive.node
  %x = "test.value"() : () -> i32
}

// -----

// program: edges stay within one program.
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}
// expected-error @+1 {{op expects parent op 'adaptive.program'}}
%end = adaptive.node.end

// -----

// program C2
// expected-error @+1 {{must have an embed node}}
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %emit = adaptive.node.emit next %end
  %end = adaptive.node.end
}

// -----

// program C2
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %emit
  // expected-error @+1 {{is a second embed node, one is accepted}}
  %again = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// program C3
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %filter
  // expected-error @+1 {{leads to embed, which only emit may}}
  %filter = adaptive.node.filter emits yes %emit no %embed
  %emit = adaptive.node.emit next %embed
}

// -----

// program C4
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %filter
  %filter = adaptive.node.filter emits yes %emit no %end
  // expected-error @+1 {{must lead to embed or end, but leads to adaptive.node.filter}}
  %emit = adaptive.node.emit next %filter
  %end = adaptive.node.end
}

// -----

// program C5
// expected-error @+1 {{must have an emit node}}
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %end
  %end = adaptive.node.end
}

// -----

// program C6
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %filter
  // expected-error @+1 {{is on a cycle that runs no stage}}
  %filter = adaptive.node.filter emits yes %emit no %other
  %other = adaptive.node.filter emits yes %emit no %filter
  %emit = adaptive.node.emit next %embed
}

// -----

// program C7
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
  // expected-error @+1 {{cannot be reached from embed}}
  %end = adaptive.node.end
}

// -----

// program C8
// expected-error @+1 {{vocab must lie in [1, 16777216], but got 0}}
adaptive.program vocab 0 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// program C8
// expected-error @+1 {{hidden must lie in [1, 16777216], but got -4}}
adaptive.program vocab 8 hidden -4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// program C8
// expected-error @+1 {{layers must lie in [1, 65536], but got 0}}
adaptive.program vocab 8 hidden 4 layers 0 max_position 8 {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// program C8
// expected-error @+1 {{max_position must lie in [1, 1073741824], but got 1073741825}}
adaptive.program vocab 8 hidden 4 layers 2 max_position 1073741825 {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// program: inputs have roles.
// expected-error @+1 {{attribute 'inputs' failed to satisfy constraint: inputs of a model}}
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 inputs ["ids"] {
  %embed = adaptive.node.embed next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// node.run C1
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %run
  // expected-error @+1 {{must name a stage, but got @absent}}
  %run = adaptive.node.run @absent next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// node.run C1: a level is no stage.
adaptive.kv_level @level layers 0 to 2 heads 1 head_dim 4 page 16 fill exact
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %run
  // expected-error @+1 {{must name a stage, but got @level}}
  %run = adaptive.node.run @level next %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// node.branch C1
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %branch
  // expected-error @+1 {{must name an exit_entry, but got @e1}}
  %branch = adaptive.node.branch @e1 yes %emit no %emit owes %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// node.filter: flags are those of a row.
adaptive.program vocab 8 hidden 4 layers 2 max_position 8 {
  %embed = adaptive.node.embed next %filter
  // expected-error @+1 {{expected one of [emits]}}
  %filter = adaptive.node.filter waits yes %emit no %emit
  %emit = adaptive.node.emit next %embed
}

// -----

// exit_entry C1
// expected-error @+1 {{index must lie in [0, 32), but got 32}}
adaptive.exit_entry @e index 32 depth 2 criterion margin threshold 1.0 fill exact

// -----

// exit_entry C1
// expected-error @+1 {{index must lie in [0, 32), but got -1}}
adaptive.exit_entry @e index -1 depth 2 criterion margin threshold 1.0 fill exact

// -----

// exit_entry C2
// expected-error @+1 {{depth must not be negative, but got -2}}
adaptive.exit_entry @e index 0 depth -2 criterion margin threshold 1.0 fill exact

// -----

// exit_entry C3
// expected-error @+1 {{threshold must be a number}}
adaptive.exit_entry @e index 0 depth 2 criterion margin threshold 0x7FF8000000000000 fill exact

// -----

// copy: rows of f32, i32 or i1 only.
func.func @f(%h: tensor<?x8xf64>) {
  // expected-error @+1 {{operand #0 must be ranked tensor of 32-bit float or 32-bit signless integer or 1-bit signless integer values, but got 'tensor<?x8xf64>'}}
  %0 = adaptive.copy %h : tensor<?x8xf64>
  return
}

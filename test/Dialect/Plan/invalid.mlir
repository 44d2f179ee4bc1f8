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

// program C1
// expected-error @+1 {{node 1 must be a dictionary with a kind}}
adaptive.program [{kind = "embed", next = 1}, {next = 0}]

// -----

// program C1
// expected-error @+1 {{node 0 must be a dictionary with a kind}}
adaptive.program [7]

// -----

// program C2
// expected-error @+1 {{edge next of node 1 leads to node 2 of 2}}
adaptive.program [{kind = "embed", next = 1}, {kind = "emit", next = 2}]

// -----

// program C2
// expected-error @+1 {{edge leave of node 1 leads to node -1 of 2}}
adaptive.program [{kind = "embed", next = 1}, {kind = "decide", leave = -1, stay = 0}]

// -----

// program C3
// expected-error @+1 {{node 1 names no stage: @absent}}
adaptive.program [{kind = "embed", next = 1}, {kind = "stage", stage = @absent, next = 0}]

// -----

// program C4
// expected-error @+1 {{node 0 must be the embed node}}
adaptive.program [{kind = "emit", next = 0}]

// -----

// program C4
// expected-error @+1 {{node 0 must be the embed node}}
adaptive.program []

// -----

// program C5
// expected-error @+1 {{node 1 cannot be reached from node 0}}
adaptive.program [{kind = "embed", next = 0}, {kind = "emit", next = 0}]

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

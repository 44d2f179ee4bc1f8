// What is wrong with a spec is one line that names the exit and the field.
//
// RUN: split-file %s %t
// RUN: %python %S/Inputs/exit_heads.py %t/heads.safetensors
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/missing.toml})' 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/syntax.toml})' 2>&1 | FileCheck %s --check-prefix=SYNTAX
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/none.toml})' 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/key.toml})' 2>&1 | FileCheck %s --check-prefix=KEY
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/last.toml})' 2>&1 | FileCheck %s --check-prefix=LAST
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/twice.toml})' 2>&1 | FileCheck %s --check-prefix=TWICE
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/nan.toml})' 2>&1 | FileCheck %s --check-prefix=NAN
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/criterion.toml})' 2>&1 | FileCheck %s --check-prefix=CRITERION
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/probe.toml})' 2>&1 | FileCheck %s --check-prefix=PROBE
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/path.toml})' 2>&1 | FileCheck %s --check-prefix=PATH
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/tensor.toml})' 2>&1 | FileCheck %s --check-prefix=TENSOR
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/integers.toml})' 2>&1 | FileCheck %s --check-prefix=INTEGERS
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/tall.toml})' 2>&1 | FileCheck %s --check-prefix=TALL
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/narrow.toml})' 2>&1 | FileCheck %s --check-prefix=NARROW
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/lowrank.toml})' 2>&1 | FileCheck %s --check-prefix=LOWRANK
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/down.toml})' 2>&1 | FileCheck %s --check-prefix=DOWN
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/bias.toml})' 2>&1 | FileCheck %s --check-prefix=BIAS
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/weight.toml})' 2>&1 | FileCheck %s --check-prefix=WEIGHT
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/scalar.toml})' 2>&1 | FileCheck %s --check-prefix=SCALAR
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/file.toml})' 2>&1 | FileCheck %s --check-prefix=FILE
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-sampling,adaptive-insert-exits{spec=%t/good.toml})' 2>&1 | FileCheck %s --check-prefix=SAMPLED
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/names.toml})' 2>&1 | FileCheck %s --check-prefix=NAMES
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/fills.toml})' 2>&1 | FileCheck %s --check-prefix=FILLS
// RUN: not ee-opt %t/model.mlir --pass-pipeline='builtin.module(adaptive-insert-exits{spec=%t/good.toml},adaptive-insert-exits{spec=%t/good.toml})' 2>&1 | FileCheck %s --check-prefix=AGAIN

// NAMES: names.toml": two exits are named "a"
// FILLS: fills.toml": all exits must have one 'fill'
// AGAIN: error: the model has exits already
// MISSING: error: cannot open "{{.*}}missing.toml"
// SYNTAX: syntax.toml" is not valid TOML: line 2:
// NONE: none.toml": needs 1 to 32 tables {{\[\[exit\]\]}}
// KEY: key.toml" exit 0: unknown key "thresold", accepted are name, layer, criterion, threshold, fill, head, probe
// LAST: error: "{{.*}}last.toml" exit "e2": layer must lie in [1, 1], but got 2
// TWICE: twice.toml": two exits stand behind layer 1
// NAN: nan.toml" exit "e1": 'threshold' must be a finite number
// CRITERION: criterion.toml" exit "e1": 'criterion' must be max_prob, margin, entropy, cosine or probe
// PROBE: probe.toml" exit "e1": criterion probe needs a table 'probe'
// PATH: path.toml" exit "e1" head: 'weights' must be the plain name of a file beside the spec
// TENSOR: error: "{{.*}}tensor.toml" exit "e1": head map: 'heads.safetensors' has no tensor 'absent'
// INTEGERS: error: "{{.*}}integers.toml" exit "e1": head map: tensor "integers" must be of f16, bf16, f32 or f64
// TALL: error: "{{.*}}tall.toml" exit "e1": head map: tensor "tall" must have the shape [4, 4], but has [6, 4]
// NARROW: error: "{{.*}}narrow.toml" exit "e1": head map: tensor "narrow" must have the shape [4, 4], but has [4, 2]
// LOWRANK: error: "{{.*}}lowrank.toml" exit "e1": head up: tensor "map" must have the shape [2, 4], but has [4, 4]
// DOWN: error: "{{.*}}down.toml" exit "e1": head down: tensor "bias" must have the shape [4, any], but has [4]
// BIAS: error: "{{.*}}bias.toml" exit "e1": head bias: tensor "probe_bias" must have the shape [4], but has [1]
// WEIGHT: error: "{{.*}}weight.toml" exit "e1": probe weight: tensor "map" must have the shape [4], but has [4, 4]
// SCALAR: error: "{{.*}}scalar.toml" exit "e1": probe bias: tensor "probe" must have the shape [1], but has [4]
// Once, though two tensors are wanted of the file.
// FILE: error: "{{.*}}file.toml" exit "e1": probe weight: weights of 'gone.safetensors': cannot open
// FILE-NOT: error:
// SAMPLED: error: exits are inserted before sampling

//--- model.mlir
adaptive.weight @table : tensor<8x4xf32> source "m.onnx" tensor "t"
adaptive.weight @w : tensor<4xf32> source "m.onnx" tensor "w"
adaptive.block @b {
^bb0(%h: tensor<?x4xf32>, %w: tensor<4xf32>):
  %n = adaptive.norm rms %h, %w epsilon 1.0e-5 : tensor<?x4xf32>, tensor<4xf32>
  adaptive.yield %n : tensor<?x4xf32>
}
adaptive.model @main max_position 8 {
^bb0(%ids: tensor<?xi32>):
  %t = adaptive.use @table : tensor<8x4xf32>
  %h0 = adaptive.embed %ids, %t : tensor<?xi32>, tensor<8x4xf32> -> tensor<?x4xf32>
  %h2 = adaptive.layers @b(%h0) first 0 weights [[@w], [@w]] : tensor<?x4xf32>
  %l = adaptive.linear %h2 weights(%t) : tensor<?x4xf32>, (tensor<8x4xf32>) -> (tensor<?x8xf32>)
  adaptive.yield %l : tensor<?x8xf32>
}

//--- good.toml
version = 1
[[exit]]
layer = 1
head = { kind = "reuse" }
//--- syntax.toml
version = 1
layer = = 1
//--- none.toml
version = 1
//--- key.toml
version = 1
[[exit]]
layer = 1
thresold = 0.5
//--- last.toml
version = 1
[[exit]]
layer = 2
//--- twice.toml
version = 1
[[exit]]
layer = 1
[[exit]]
name = "other"
layer = 1
//--- nan.toml
version = 1
[[exit]]
layer = 1
threshold = nan
//--- criterion.toml
version = 1
[[exit]]
layer = 1
criterion = "certainty"
//--- probe.toml
version = 1
[[exit]]
layer = 1
criterion = "probe"
//--- path.toml
version = 1
[[exit]]
layer = 1
head = { kind = "map", weights = "../heads.safetensors", map = "map" }
//--- tensor.toml
version = 1
[[exit]]
layer = 1
head = { kind = "map", weights = "heads.safetensors", map = "absent" }
//--- integers.toml
version = 1
[[exit]]
layer = 1
head = { kind = "map", weights = "heads.safetensors", map = "integers" }
//--- tall.toml
version = 1
[[exit]]
layer = 1
head = { kind = "map", weights = "heads.safetensors", map = "tall" }
//--- narrow.toml
version = 1
[[exit]]
layer = 1
head = { kind = "map", weights = "heads.safetensors", map = "narrow" }

//--- names.toml
version = 1
[[exit]]
name = "a"
layer = 1
[[exit]]
name = "a"
layer = 2
//--- fills.toml
version = 1
[[exit]]
layer = 1
[[exit]]
layer = 2
fill = "propagate"
//--- lowrank.toml
version = 1
[[exit]]
layer = 1
head = { kind = "lowrank", weights = "heads.safetensors", down = "down", up = "map" }
//--- down.toml
version = 1
[[exit]]
layer = 1
head = { kind = "lowrank", weights = "heads.safetensors", down = "bias", up = "up" }
//--- bias.toml
version = 1
[[exit]]
layer = 1
head = { kind = "map", weights = "heads.safetensors", map = "map", bias = "probe_bias" }
//--- weight.toml
version = 1
[[exit]]
layer = 1
criterion = "probe"
probe = { weights = "heads.safetensors", weight = "map", bias = "probe_bias" }
//--- scalar.toml
version = 1
[[exit]]
layer = 1
criterion = "probe"
probe = { weights = "heads.safetensors", weight = "probe", bias = "probe" }
//--- file.toml
version = 1
[[exit]]
layer = 1
criterion = "probe"
probe = { weights = "gone.safetensors", weight = "probe", bias = "probe_bias" }

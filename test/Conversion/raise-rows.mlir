// RUN: ee-opt %s -split-input-file -adaptive-raise-rows 2>%t.err | FileCheck %s
// RUN: FileCheck %s --check-prefix=REMARK <%t.err
// RUN: ee-opt %s -split-input-file -adaptive-raise-rows=max-position=300 2>%t.err | FileCheck %s --check-prefix=LONG
// RUN: FileCheck %s --check-prefix=QUIET --allow-empty <%t.err
// QUIET-NOT: remark

// One layer as opset 23 writes it: the cache goes, what is left is rows.

// A stored table says how long sequences may be, whatever the option says.
// CHECK-LABEL: adaptive.model @main max_position 16
// LONG:        adaptive.model @main max_position 16
// CHECK-NEXT:  ^bb0(%[[IDS:.*]]: tensor<?xi32>):
// CHECK-DAG:   %[[EMB:.*]] = adaptive.use @emb : tensor<8x4xf32>
// CHECK-DAG:   %[[WQ:.*]] = adaptive.use @wq.T : tensor<4x4xf32>
// CHECK-DAG:   %[[WK:.*]] = adaptive.use @wk.T : tensor<2x4xf32>
// CHECK:       %[[H:.*]] = adaptive.embed %[[IDS]], %[[EMB]]
// CHECK:       %[[N:.*]] = adaptive.norm rms %[[H]], %{{.*}} epsilon 1.000000e-03
// CHECK:       %[[Q:.*]] = adaptive.linear %[[N]] weights(%[[WQ]])
// CHECK:       %[[K:.*]] = adaptive.linear %[[N]] weights(%[[WK]])
// CHECK:       %[[V:.*]] = adaptive.linear %[[N]] weights(%[[WK]])
// CHECK:       %[[QR:.*]] = adaptive.rope %[[Q]], %{{.*}}, %{{.*}} head_dim 2
// CHECK:       %[[KR:.*]] = adaptive.rope %[[K]], %{{.*}}, %{{.*}} head_dim 2
// CHECK:       %[[KV:.*]] = adaptive.kv_append %[[KR]], %[[V]] : tensor<?x2xf32> -> !adaptive.kv<1 x 2>
// CHECK:       %[[A:.*]] = adaptive.attend %[[QR]], %[[KV]] heads 2 scale 7.500000e-01
// CHECK:       adaptive.map(%[[H]], %[[A]])
// CHECK:       %[[L:.*]] = adaptive.linear %{{.*}} weights(%[[EMB]])
// CHECK:       adaptive.yield %[[L]] : tensor<?x8xf32>
// CHECK-NOT:   onnx.
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.weight @wq : tensor<4x4xf32> source "m.onnx" tensor "wq"
adaptive.weight @wk : tensor<4x2xf32> source "m.onnx" tensor "wk"
adaptive.weight @scale : tensor<4xf32> source "m.onnx" tensor "scale"
adaptive.weight @cos : tensor<16x1xf32> source "m.onnx" tensor "cos"
adaptive.weight @sin : tensor<16x1xf32> source "m.onnx" tensor "sin"
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]},
                %pos: tensor<?x?xi64> {onnx.name = "position_ids", onnx.dims = ["b", "s"]},
                %pk: tensor<?x1x?x2xf32> {onnx.name = "one", onnx.dims = ["b", "", "p", ""]},
                %pv: tensor<?x1x?x2xf32> {onnx.name = "two", onnx.dims = ["b", "", "p", ""]})
    -> (tensor<?x?x8xf32> {onnx.name = "logits"}, tensor<?x1x?x2xf32> {onnx.name = "three"},
        tensor<?x1x?x2xf32> {onnx.name = "four"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %wq = adaptive.use @wq : tensor<4x4xf32>
  %wk = adaptive.use @wk : tensor<4x2xf32>
  %scale = adaptive.use @scale : tensor<4xf32>
  %cos = adaptive.use @cos : tensor<16x1xf32>
  %sin = adaptive.use @sin : tensor<16x1xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %n = onnx.node "RMSNormalization" version 23 (%h, %scale) {onnx_attrs = {epsilon = 0.001 : f64}} : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  %q = onnx.node "MatMul" version 23 (%n, %wq) : (tensor<?x?x4xf32>, tensor<4x4xf32>) -> tensor<?x?x4xf32>
  %k = onnx.node "MatMul" version 23 (%n, %wk) : (tensor<?x?x4xf32>, tensor<4x2xf32>) -> tensor<?x?x2xf32>
  %v = onnx.node "MatMul" version 23 (%n, %wk) : (tensor<?x?x4xf32>, tensor<4x2xf32>) -> tensor<?x?x2xf32>
  %qr = onnx.node "RotaryEmbedding" version 23 (%q, %cos, %sin, %pos) {onnx_attrs = {num_heads = 2 : i64}} : (tensor<?x?x4xf32>, tensor<16x1xf32>, tensor<16x1xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %kr = onnx.node "RotaryEmbedding" version 23 (%k, %cos, %sin, %pos) {onnx_attrs = {num_heads = 1 : i64}} : (tensor<?x?x2xf32>, tensor<16x1xf32>, tensor<16x1xf32>, tensor<?x?xi64>) -> tensor<?x?x2xf32>
  %a:3 = onnx.node "Attention" version 23 (%qr, %kr, %v, %none, %pk, %pv) {onnx_attrs = {is_causal = 1 : i64, q_num_heads = 2 : i64, kv_num_heads = 1 : i64, scale = 0.75 : f32}} : (tensor<?x?x4xf32>, tensor<?x?x2xf32>, tensor<?x?x2xf32>, none, tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>) -> (tensor<?x?x4xf32>, tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>)
  %r = onnx.node "Add" version 23 (%h, %a#0) : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %t = onnx.node "Transpose" version 23 (%emb) {onnx_attrs = {perm = array<i64: 1, 0>}} : (tensor<8x4xf32>) -> tensor<4x8xf32>
  %l = onnx.node "MatMul" version 23 (%r, %t) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  return %l, %a#1, %a#2 : tensor<?x?x8xf32>, tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>
}

// -----

// Attention in parts without a cache: heads by reshape and transpose, rotary
// embedding by halves from frequencies, a mask from two ranges, scale on both sides.

// CHECK:       adaptive.table @rope_cos "cos" [1.000000e+00, 5.000000e-01] : tensor<2048x2xf32>
// CHECK:       adaptive.table @rope_sin "sin" [1.000000e+00, 5.000000e-01] : tensor<2048x2xf32>
// CHECK-LABEL: adaptive.model @main max_position 2048
// REMARK: remark: sequences may have 2048 positions: neither a stored rotary table nor max-position says how many
// LONG:        adaptive.table @rope_cos {{.*}} : tensor<300x2xf32>
// LONG:        adaptive.model @main max_position 300
// CHECK-DAG:   %[[COS:.*]] = adaptive.use @rope_cos
// CHECK-DAG:   %[[SIN:.*]] = adaptive.use @rope_sin
// CHECK:       %[[H:.*]] = adaptive.embed
// CHECK:       %[[K:.*]] = adaptive.rope %[[H]], %[[COS]], %[[SIN]] head_dim 4 : tensor<?x8xf32>
// CHECK:       %[[KV:.*]] = adaptive.kv_append %[[K]], %[[H]] : tensor<?x8xf32> -> !adaptive.kv<2 x 4>
// CHECK:       %[[A:.*]] = adaptive.attend %[[H]], %[[KV]] heads 2 scale 2.500000e-01
// CHECK:       adaptive.linear %[[A]]
adaptive.weight @emb : tensor<16x8xf32> source "m.onnx" tensor "emb"
adaptive.weight @head : tensor<8x16xf32> source "m.onnx" tensor "head"
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "tokens", onnx.dims = ["b", "s"]}) -> (tensor<?x?x16xf32> {onnx.name = "out"}) {
  %emb = adaptive.use @emb : tensor<16x8xf32>
  %head = adaptive.use @head : tensor<8x16xf32>
  %freq = onnx.constant dense<[1.0, 0.5]> : tensor<2xf32> : tensor<2xf32>
  %zero = onnx.constant dense<0> : tensor<i64> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64> : tensor<i64>
  %i0 = onnx.constant dense<[0]> : tensor<1xi64> : tensor<1xi64>
  %i1 = onnx.constant dense<[1]> : tensor<1xi64> : tensor<1xi64>
  %i2 = onnx.constant dense<[2]> : tensor<1xi64> : tensor<1xi64>
  %i3 = onnx.constant dense<[3]> : tensor<1xi64> : tensor<1xi64>
  %end = onnx.constant dense<[9223372036854775807]> : tensor<1xi64> : tensor<1xi64>
  %heads = onnx.constant dense<[0, 0, 2, 4]> : tensor<4xi64> : tensor<4xi64>
  %flat = onnx.constant dense<[0, 0, 8]> : tensor<3xi64> : tensor<3xi64>
  %half = onnx.constant dense<0.5> : tensor<f32> : tensor<f32>
  %f0 = onnx.constant dense<0.0> : tensor<f32> : tensor<f32>
  %inf = onnx.constant dense<0xFF800000> : tensor<f32> : tensor<f32>
  %h = onnx.node "Gather" version 18 (%emb, %ids) : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %shape = onnx.node "Shape" version 18 (%ids) : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = onnx.node "Gather" version 18 (%shape, %one) : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %p = onnx.node "Range" version 18 (%zero, %s, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %q1 = onnx.node "Unsqueeze" version 18 (%p, %i1) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %k1 = onnx.node "Unsqueeze" version 18 (%p, %i0) : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %later = onnx.node "Greater" version 18 (%k1, %q1) : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = onnx.node "Where" version 18 (%later, %inf, %f0) : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %pf = onnx.node "Cast" version 18 (%q1) {onnx_attrs = {to = 1 : i64}} : (tensor<?x1xi64>) -> tensor<?x1xf32>
  %angle = onnx.node "Mul" version 18 (%pf, %freq) : (tensor<?x1xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %angles = onnx.node "Concat" version 18 (%angle, %angle) {onnx_attrs = {axis = 1 : i64}} : (tensor<?x2xf32>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %cos = onnx.node "Cos" version 18 (%angles) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %sin = onnx.node "Sin" version 18 (%angles) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %r = onnx.node "Reshape" version 18 (%h, %heads) : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
  %x = onnx.node "Transpose" version 18 (%r) {onnx_attrs = {perm = array<i64: 0, 2, 1, 3>}} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %lo = onnx.node "Slice" version 18 (%x, %i0, %i2, %i3) : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %hi = onnx.node "Slice" version 18 (%x, %i2, %end, %i3) : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %neg = onnx.node "Neg" version 18 (%hi) : (tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %rot = onnx.node "Concat" version 18 (%neg, %lo) {onnx_attrs = {axis = -1 : i64}} : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x4xf32>
  %xc = onnx.node "Mul" version 18 (%x, %cos) : (tensor<?x2x?x4xf32>, tensor<?x4xf32>) -> tensor<?x2x?x4xf32>
  %xs = onnx.node "Mul" version 18 (%rot, %sin) : (tensor<?x2x?x4xf32>, tensor<?x4xf32>) -> tensor<?x2x?x4xf32>
  %k = onnx.node "Add" version 18 (%xc, %xs) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %ks = onnx.node "Mul" version 18 (%k, %half) : (tensor<?x2x?x4xf32>, tensor<f32>) -> tensor<?x2x?x4xf32>
  %kt = onnx.node "Transpose" version 18 (%ks) {onnx_attrs = {perm = array<i64: 0, 1, 3, 2>}} : (tensor<?x2x?x4xf32>) -> tensor<?x2x4x?xf32>
  %qs = onnx.node "Mul" version 18 (%x, %half) : (tensor<?x2x?x4xf32>, tensor<f32>) -> tensor<?x2x?x4xf32>
  %sc = onnx.node "MatMul" version 18 (%qs, %kt) : (tensor<?x2x?x4xf32>, tensor<?x2x4x?xf32>) -> tensor<?x2x?x?xf32>
  %ms = onnx.node "Add" version 18 (%sc, %mask) : (tensor<?x2x?x?xf32>, tensor<?x?xf32>) -> tensor<?x2x?x?xf32>
  %pr = onnx.node "Softmax" version 18 (%ms) {onnx_attrs = {axis = -1 : i64}} : (tensor<?x2x?x?xf32>) -> tensor<?x2x?x?xf32>
  %nan = onnx.node "IsNaN" version 18 (%pr) : (tensor<?x2x?x?xf32>) -> tensor<?x2x?x?xi1>
  %gd = onnx.node "Where" version 18 (%nan, %f0, %pr) : (tensor<?x2x?x?xi1>, tensor<f32>, tensor<?x2x?x?xf32>) -> tensor<?x2x?x?xf32>
  %av = onnx.node "MatMul" version 18 (%gd, %x) : (tensor<?x2x?x?xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %at = onnx.node "Transpose" version 18 (%av) {onnx_attrs = {perm = array<i64: 0, 2, 1, 3>}} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %fl = onnx.node "Reshape" version 18 (%at, %flat) : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %l = onnx.node "MatMul" version 18 (%fl, %head) : (tensor<?x?x8xf32>, tensor<8x16xf32>) -> tensor<?x?x16xf32>
  return %l : tensor<?x?x16xf32>
}

// -----

// A layer norm put together from means, a bias as vector, a constant as weight.

// CHECK:       adaptive.weight @b : tensor<4xf32> source "" tensor "" value dense<[1.000000e+00, 2.000000e+00, 3.000000e+00, 4.000000e+00]>
// CHECK-LABEL: adaptive.model @main
// CHECK-DAG:   %[[S:.*]] = adaptive.use @scale
// CHECK-DAG:   %[[B:.*]] = adaptive.use @b
// CHECK:       %[[H:.*]] = adaptive.embed
// CHECK:       %[[N:.*]] = adaptive.norm layer %[[H]], %[[S]], %[[B]] : tensor<4xf32> epsilon 1.250000e-01
// CHECK:       %[[L:.*]] = adaptive.linear %[[N]]
// CHECK:       adaptive.yield %[[L]]
adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.weight @scale : tensor<4xf32> source "m.onnx" tensor "scale"
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x8xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %scale = adaptive.use @scale : tensor<4xf32>
  %bias = onnx.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32> : tensor<4xf32> loc("b")
  %last = onnx.constant dense<[-1]> : tensor<1xi64> : tensor<1xi64>
  %two = onnx.constant dense<2.0> : tensor<f32> : tensor<f32>
  %eps = onnx.constant dense<0.125> : tensor<f32> : tensor<f32>
  %h = onnx.node "Gather" version 18 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %m = onnx.node "ReduceMean" version 18 (%h, %last) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x?x1xf32>
  %d = onnx.node "Sub" version 18 (%h, %m) : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %sq = onnx.node "Pow" version 18 (%d, %two) : (tensor<?x?x4xf32>, tensor<f32>) -> tensor<?x?x4xf32>
  %v = onnx.node "ReduceMean" version 18 (%sq, %last) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x?x1xf32>
  %ve = onnx.node "Add" version 18 (%v, %eps) : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %sd = onnx.node "Sqrt" version 18 (%ve) : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %nd = onnx.node "Div" version 18 (%d, %sd) : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %ns = onnx.node "Mul" version 18 (%nd, %scale) : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  %n = onnx.node "Add" version 18 (%ns, %bias) : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  %t = onnx.node "Transpose" version 18 (%emb) : (tensor<8x4xf32>) -> tensor<4x8xf32>
  %l = onnx.node "MatMul" version 18 (%n, %t) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  return %l : tensor<?x?x8xf32>
}

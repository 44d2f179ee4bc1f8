// RUN: ee-opt %s -split-input-file -verify-diagnostics -adaptive-raise-rows

// Every case: the reason at its node, one error, and no crash.

// What has no rule, named; what only depends on it is not.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  // expected-remark @+1 {{not raised: node 'hard' (HardSwish, opset 23): no rule for this operator}}
  %x = onnx.node "HardSwish" version 23 (%h) {onnx.names = ["hard"]} : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %out = onnx.node "Sigmoid" version 23 (%x) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// All places in one run.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 2 places not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  // expected-remark @+1 {{(HardSwish, opset 23): no rule for this operator}}
  %x = onnx.node "HardSwish" version 23 (%h) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  // expected-remark @+1 {{(Frob, opset 1): no rule for operators of domain 'acme'}}
  %y = onnx.node "Frob" domain "acme" version 1 (%h) : (tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %out = onnx.node "Add" version 23 (%x, %y) : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// No mask.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  // expected-remark @+1 {{attention is not causal: no mask hides the positions after the query}}
  %out = onnx.node "Attention" version 23 (%h, %h, %h) {onnx_attrs = {q_num_heads = 1 : i64, kv_num_heads = 1 : i64}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// A mask that shows later positions.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %zero = onnx.constant dense<0> : tensor<i64> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64> : tensor<i64>
  %i0 = onnx.constant dense<[0]> : tensor<1xi64> : tensor<1xi64>
  %i1 = onnx.constant dense<[1]> : tensor<1xi64> : tensor<1xi64>
  %shape = onnx.node "Shape" version 23 (%ids) : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = onnx.node "Gather" version 23 (%shape, %one) : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %p = onnx.node "Range" version 23 (%zero, %s, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %q = onnx.node "Unsqueeze" version 23 (%p, %i1) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %k = onnx.node "Unsqueeze" version 23 (%p, %i0) : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  // expected-remark @+1 {{(GreaterOrEqual, opset 23): mask compares key and query at distance -1, which is not causal attention}}
  %m = onnx.node "GreaterOrEqual" version 23 (%k, %q) : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %out = onnx.node "Attention" version 23 (%h, %h, %h, %m) {onnx_attrs = {q_num_heads = 1 : i64, kv_num_heads = 1 : i64}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?xi1>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// A mask that hides the past and shows the future.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %zero = onnx.constant dense<0> : tensor<i64> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64> : tensor<i64>
  %i0 = onnx.constant dense<[0]> : tensor<1xi64> : tensor<1xi64>
  %i1 = onnx.constant dense<[1]> : tensor<1xi64> : tensor<1xi64>
  %shape = onnx.node "Shape" version 23 (%ids) : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = onnx.node "Gather" version 23 (%shape, %one) : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %p = onnx.node "Range" version 23 (%zero, %s, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %q = onnx.node "Unsqueeze" version 23 (%p, %i1) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %k = onnx.node "Unsqueeze" version 23 (%p, %i0) : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %m = onnx.node "Greater" version 23 (%k, %q) : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  // expected-remark @+1 {{its mask is not proven causal: it hides or shifts positions up to the query}}
  %out = onnx.node "Attention" version 23 (%h, %h, %h, %m) {onnx_attrs = {q_num_heads = 1 : i64, kv_num_heads = 1 : i64}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?xi1>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// A finite mask: scores may lie below it.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %zero = onnx.constant dense<0> : tensor<i64> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64> : tensor<i64>
  %i0 = onnx.constant dense<[0]> : tensor<1xi64> : tensor<1xi64>
  %i1 = onnx.constant dense<[1]> : tensor<1xi64> : tensor<1xi64>
  %none = onnx.constant dense<0.0> : tensor<f32> : tensor<f32>
  %weak = onnx.constant dense<-1.0e9> : tensor<f32> : tensor<f32>
  %shape = onnx.node "Shape" version 23 (%ids) : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = onnx.node "Gather" version 23 (%shape, %one) : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %p = onnx.node "Range" version 23 (%zero, %s, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %q = onnx.node "Unsqueeze" version 23 (%p, %i1) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %k = onnx.node "Unsqueeze" version 23 (%p, %i0) : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %later = onnx.node "Greater" version 23 (%k, %q) : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %m = onnx.node "Where" version 23 (%later, %weak, %none) : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  // expected-remark @+1 {{its mask is finite: -1e+09 need not hide the positions after the query, as minus infinity or the least f32 does}}
  %out = onnx.node "Attention" version 23 (%h, %h, %h, %m) {onnx_attrs = {q_num_heads = 1 : i64, kv_num_heads = 1 : i64}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?xf32>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// Two outputs, and nothing says which is sampled.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
adaptive.weight @head : tensor<4x8xf32> source "m.onnx" tensor "head"
// expected-error @+1 {{cannot be raised: of its outputs 'state', 'scores' none is named 'logits', so nothing says which is sampled}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "state"}, tensor<?x?x8xf32> {onnx.name = "scores"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %head = adaptive.use @head : tensor<4x8xf32>
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %l = onnx.node "MatMul" version 23 (%h, %head) : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  return %h, %l : tensor<?x?x4xf32>, tensor<?x?x8xf32>
}

// -----

// A window is not causal attention.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %zero = onnx.constant dense<0> : tensor<i64> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64> : tensor<i64>
  %i0 = onnx.constant dense<[0]> : tensor<1xi64> : tensor<1xi64>
  %i1 = onnx.constant dense<[1]> : tensor<1xi64> : tensor<1xi64>
  %shape = onnx.node "Shape" version 23 (%ids) : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = onnx.node "Gather" version 23 (%shape, %one) : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %p = onnx.node "Range" version 23 (%zero, %s, %one) : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %q = onnx.node "Unsqueeze" version 23 (%p, %i1) : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %k = onnx.node "Unsqueeze" version 23 (%p, %i0) : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %w = onnx.constant dense<3> : tensor<i64> : tensor<i64>
  %kw = onnx.node "Add" version 23 (%k, %w) : (tensor<1x?xi64>, tensor<i64>) -> tensor<1x?xi64>
  // expected-remark @+1 {{mask compares key and query at distance -4, which is not causal attention}}
  %m = onnx.node "Less" version 23 (%kw, %q) : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %out = onnx.node "Attention" version 23 (%h, %h, %h, %m) {onnx_attrs = {q_num_heads = 1 : i64, kv_num_heads = 1 : i64}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?xi1>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// An input that nobody feeds.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]},
                // expected-remark @+1 {{not raised: input 'extra' is none of token ids, attention_mask, position_ids, cache_position, a KV cache or the enabled flags of exits}}
                %e: tensor<?x?x4xf32> {onnx.name = "extra", onnx.dims = ["b", "s", ""]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %out = onnx.node "Add" version 23 (%h, %e) : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// Rows of a sequence are not mixed outside of attention.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %perm = onnx.constant dense<[0]> : tensor<1xi64> : tensor<1xi64>
  // expected-remark @+1 {{(ReduceMean, opset 23): only the mean of the last dimension (kept) is supported}}
  %x = onnx.node "ReduceMean" version 23 (%h, %perm) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<1x?x4xf32>
  %out = onnx.node "Sub" version 23 (%h, %x) : (tensor<?x?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// An output that is no logits.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised: output 'logits' is not logits [batch, sequence, vocabulary]}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}) -> (tensor<?xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %n = onnx.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %out = onnx.node "Reshape" version 23 (%h, %n) : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?xf32>
  return %out : tensor<?xf32>
}

// -----

// A score that is no criterion.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}, %on: tensor<?x?xi1> {onnx.name = "enabled", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %last = onnx.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %sc = onnx.node "ReduceMax" version 23 (%h, %last) {onnx_attrs = {keepdims = 0 : i64}} : (tensor<?x?x4xf32>, tensor<1xi64>) -> tensor<?x?xf32>
  // expected-remark @+1 {{its score is none of max_prob, margin, entropy, cosine and a linear probe}}
  %out = onnx.node "Exit" domain "ai.adaptive" version 1 (%h, %h, %sc, %h, %on) {onnx_attrs = {threshold = 1.0 : f32, name = "e", criterion = "max_prob"}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?xf32>, tensor<?x?x4xf32>, tensor<?x?xi1>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// A tag that the nodes contradict.

adaptive.weight @emb : tensor<8x4xf32> source "m.onnx" tensor "emb"
// expected-error @+1 {{cannot be raised to rows: 1 place not understood, see the remarks}}
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", onnx.dims = ["b", "s"]}, %on: tensor<?x?xi1> {onnx.name = "enabled", onnx.dims = ["b", "s"]}) -> (tensor<?x?x4xf32> {onnx.name = "logits"}) {
  %emb = adaptive.use @emb : tensor<8x4xf32>
  %none = onnx.none
  %h = onnx.node "Gather" version 23 (%emb, %ids) : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %last = onnx.constant dense<-1> : tensor<1xi64> : tensor<1xi64>
  %w = onnx.constant dense<1.0> : tensor<4x1xf32> : tensor<4x1xf32>
  %c = onnx.node "MatMul" version 23 (%h, %w) : (tensor<?x?x4xf32>, tensor<4x1xf32>) -> tensor<?x?x1xf32>
  %sc = onnx.node "Squeeze" version 23 (%c, %last) : (tensor<?x?x1xf32>, tensor<1xi64>) -> tensor<?x?xf32>
  // expected-remark @+1 {{its tag says criterion 'margin', but its score is computed as 'probe'}}
  %out = onnx.node "Exit" domain "ai.adaptive" version 1 (%h, %h, %sc, %h, %on) {onnx_attrs = {threshold = 1.0 : f32, name = "e", criterion = "margin"}} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?xf32>, tensor<?x?x4xf32>, tensor<?x?xi1>) -> tensor<?x?x4xf32>
  return %out : tensor<?x?x4xf32>
}

// -----

// Nothing to start from.

// expected-error @+1 {{cannot be raised: no input of token ids [batch, sequence]; an integer input named 'input_ids' or one that indexes an embedding table is needed}}
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x"}) -> tensor<?x4xf32> {
  return %x : tensor<?x4xf32>
}

// -----

// A decode-only file.

// expected-error @+1 {{cannot be raised: the sequence length of input 'input_ids' is fixed to 1; it must be dynamic}}
func.func @main(%ids: tensor<?x1xi64> {onnx.name = "input_ids"}) -> tensor<?x1xi64> {
  return %ids : tensor<?x1xi64>
}

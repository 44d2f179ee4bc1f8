// RUN: ee-opt %s -allow-unregistered-dialect -split-input-file -verify-diagnostics

// kv type C1
// expected-error @+1 {{heads and head dimension must lie in [1, 1048576], but got 0 x 4}}
func.func private @f(!adaptive.kv<0 x 4>)

// -----

// kv type C1
// expected-error @+1 {{heads and head dimension must lie in [1, 1048576], but got 4 x 1048577}}
func.func private @f(!adaptive.kv<4 x 1048577>)

// -----

// kv_append C1
func.func @f(%k: tensor<?x8xf32>) {
  // expected-error @+1 {{keys and values must be tensor<?x12xf32>}}
  %kv = adaptive.kv_append %k, %k : tensor<?x8xf32> -> !adaptive.kv<3 x 4>
  return
}

// -----

// attend C1
func.func @f(%q: tensor<?x12xf32>, %kv: !adaptive.kv<2 x 4>) {
  // expected-error @+1 {{heads must be a positive multiple of the 2 KV heads, but got 3}}
  %a = adaptive.attend %q, %kv heads 3 scale 1.0 : tensor<?x12xf32>, !adaptive.kv<2 x 4>
  return
}

// -----

// attend C1
func.func @f(%q: tensor<?x12xf32>, %kv: !adaptive.kv<2 x 4>) {
  // expected-error @+1 {{heads must be a positive multiple of the 2 KV heads, but got 0}}
  %a = adaptive.attend %q, %kv heads 0 scale 1.0 : tensor<?x12xf32>, !adaptive.kv<2 x 4>
  return
}

// -----

// attend C2
func.func @f(%q: tensor<?x12xf32>, %kv: !adaptive.kv<2 x 4>) {
  // expected-error @+1 {{query must be rows of 4 heads of 4, but got 'tensor<?x12xf32>'}}
  %a = adaptive.attend %q, %kv heads 4 scale 1.0 : tensor<?x12xf32>, !adaptive.kv<2 x 4>
  return
}

// -----

// attend C3
func.func @f(%q: tensor<?x8xf32>, %kv: !adaptive.kv<2 x 4>) {
  // expected-error @+1 {{scale must be positive and finite, but got 0}}
  %a = adaptive.attend %q, %kv heads 2 scale 0.0 : tensor<?x8xf32>, !adaptive.kv<2 x 4>
  return
}

// -----

// attend C3
func.func @f(%q: tensor<?x8xf32>, %kv: !adaptive.kv<2 x 4>) {
  // expected-error @+1 {{scale must be positive and finite, but got INF}}
  %a = adaptive.attend %q, %kv heads 2 scale 0x7FF0000000000000 : tensor<?x8xf32>, !adaptive.kv<2 x 4>
  return
}

// -----

// attend C3
func.func @f(%q: tensor<?x8xf32>, %kv: !adaptive.kv<2 x 4>) {
  // expected-error @+1 {{scale must be positive and finite, but got nan}}
  %a = adaptive.attend %q, %kv heads 2 scale 0x7FF8000000000000 : tensor<?x8xf32>, !adaptive.kv<2 x 4>
  return
}

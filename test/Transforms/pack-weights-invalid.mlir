// RUN: not ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights{format=q5})' 2>&1 | FileCheck %s --check-prefix=FORMAT
// RUN: not ee-opt %s --pass-pipeline='builtin.module(adaptive-pack-weights{format=q4 head=plain})' 2>&1 | FileCheck %s --check-prefix=HEAD

// FORMAT: error: weight format must be f32, bf16, q8 or q4, but got 'q5'
// FORMAT-NOT: format q
// HEAD: error: weight format must be f32, bf16, q8 or q4, but got 'plain'
// HEAD-NOT: format q
adaptive.weight @w : tensor<8x4xf32> source "m.onnx" tensor "t"

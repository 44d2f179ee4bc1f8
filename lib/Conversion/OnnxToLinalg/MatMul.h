// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Matrix products of lowered tensors.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_MATMUL_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_MATMUL_H

#include "Emitter.h"

namespace adaptive::tolinalg {

/// numpy.matmul: [..., M, K] x [..., K, N], operands of one dimension included.
/// Sums of narrow floats are kept in f32.
Tensor matmul(Emitter &e, Tensor a, Tensor b);

/// [M, K] x [K, N] where either may be stored transposed.
Tensor product(Emitter &e, Tensor a, Tensor b, bool transposeA,
               bool transposeB);

} // namespace adaptive::tolinalg

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_MATMUL_H

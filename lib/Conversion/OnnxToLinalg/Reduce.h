// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sums and maxima along axes that stay as ones, as other operators need them.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_REDUCE_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_REDUCE_H

#include "Emitter.h"

namespace adaptive::tolinalg {

Tensor sumAlong(Emitter &e, Tensor &x, llvm::ArrayRef<bool> axes);
Tensor maxAlong(Emitter &e, Tensor &x, llvm::ArrayRef<bool> axes);
/// Sum over the number of elements; x must be of a float type.
Tensor meanAlong(Emitter &e, Tensor &x, llvm::ArrayRef<bool> axes);
/// exp(x - max) over its sum.
Tensor softmax(Emitter &e, Tensor &x, llvm::ArrayRef<bool> axes,
               bool log = false);
/// The floats to compute in: narrow ones widened to f32.
Tensor widened(Emitter &e, Tensor &x);

} // namespace adaptive::tolinalg

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_REDUCE_H

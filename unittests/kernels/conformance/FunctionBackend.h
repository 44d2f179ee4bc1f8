// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The function backend of one CPU level, on the decomposition of a case: the
// general path of the compiler, from tensors to a shared object.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_FUNCTIONBACKEND_H
#define ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_FUNCTIONBACKEND_H

#include "../Harness.h"
#include "Cases.h"

namespace conformance {

class FunctionBackend : public Backend {
public:
  explicit FunctionBackend(kernels_test::Level level) : level(level) {}
  std::string name() const override;
  Outputs run(const OpCase &op, const Inputs &inputs) override;

private:
  kernels_test::Level level;
};

} // namespace conformance

#endif // ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_FUNCTIONBACKEND_H

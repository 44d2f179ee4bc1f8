// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The CPU kernels of one level as a backend of the conformance test.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_CPUBACKEND_H
#define ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_CPUBACKEND_H

#include "../Harness.h"
#include "Cases.h"

namespace conformance {

class CpuBackend : public Backend {
public:
  explicit CpuBackend(kernels_test::Level level) : level(level) {}
  std::string name() const override;
  void settle(const OpCase &op, Inputs &inputs) override;
  Outputs run(const OpCase &op, const Inputs &inputs) override;

private:
  kernels_test::Level level;
  std::map<size_t, kernels_test::Bytes> packed; ///< by parameter, from settle
};

} // namespace conformance

#endif // ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_CPUBACKEND_H

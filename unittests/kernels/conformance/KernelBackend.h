// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiled kernels as a backend of the conformance test: of a CPU level, or on
// the GPU simulator.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_KERNELBACKEND_H
#define ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_KERNELBACKEND_H

#include "../Harness.h"
#include "Cases.h"

namespace conformance {

class KernelBackend : public Backend {
public:
  explicit KernelBackend(const kernels_test::Runner &runner) : runner(runner) {}
  std::string name() const override;
  void settle(const OpCase &op, Inputs &inputs) override;
  /// Takes the packed weights of another backend.
  void share(const KernelBackend &other) { packed = other.packed; }
  Outputs run(const OpCase &op, const Inputs &inputs) override;

private:
  kernels_test::Case &compiled(const OpCase &op);

  kernels_test::Runner runner;
  /// The last op, which often runs again on other rows.
  std::unique_ptr<kernels_test::Case> last;
  const OpCase *lastOp = nullptr;
  std::map<size_t, kernels_test::Bytes> packed; ///< by parameter, from settle
};

} // namespace conformance

#endif // ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_KERNELBACKEND_H

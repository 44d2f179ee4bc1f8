// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs the linalg decomposition of a case in process: loops, LLVM IR, the C
// library's exp and log. Nothing of the CPU backend takes part.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_ORACLE_H
#define ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_ORACLE_H

#include "Cases.h"

#include <set>

namespace conformance {

class Oracle : public Backend {
public:
  std::string name() const override { return "linalg"; }
  Outputs run(const OpCase &op, const Inputs &inputs) override;
};

/// Names of all ops of the dialect, without the dialect.
std::set<std::string> registeredOps();

} // namespace conformance

#endif // ADAPTIVE_UNITTESTS_KERNELS_CONFORMANCE_ORACLE_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The devices that the session suite runs on; a new one is a line here.
#ifndef EE_UNITTESTS_DEVICES_H
#define EE_UNITTESTS_DEVICES_H

#include "ee/device.h"

#include <ostream>

namespace toy {

struct TestDevice {
  const char *name;
  std::unique_ptr<ee::Device> (*make)(const ee::Artifact &artifact,
                                      int64_t threads);
};

/// The simulated GPU, with the artifact's stages as host functions in the place
/// of kernels.
std::unique_ptr<ee::Device> makeSimulated(const ee::Artifact &artifact,
                                          int64_t threads);

inline constexpr TestDevice testDevices[] = {
    {"cpu", ee::createCpuDevice},
    {"guarded", ee::createGuardedCpuDevice},
    {"sim", makeSimulated},
};

/// For the names of tests.
inline std::ostream &operator<<(std::ostream &out, const TestDevice &device) {
  return out << device.name;
}

} // namespace toy

#endif // EE_UNITTESTS_DEVICES_H

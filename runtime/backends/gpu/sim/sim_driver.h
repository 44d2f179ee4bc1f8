// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The driver table over the interpreter. What is enqueued runs only when
// somebody waits for it, in order: a missing wait shows as missing data, and
// pinned memory that a download will write is poisoned until then.
#ifndef EE_GPU_SIM_SIM_DRIVER_H
#define EE_GPU_SIM_SIM_DRIVER_H

#include "../driver.h"
#include "machine.h"

#include <memory>

namespace ee::gpu {

struct SimDeviceOptions : SimOptions {
  int sm = 80;                               // compute capability * 10
  uint64_t memoryBytes = uint64_t(64) << 30; // then out of memory
};

/// A function of the host that stands for a kernel. It sees device memory
/// under the addresses that kernels see, and runs once for a launch.
struct HostKernel {
  size_t parameters; // of 8 bytes each
  std::function<void(Dim grid, Dim block, const uint64_t *parameters)> run;
};

class SimDriver {
public:
  explicit SimDriver(SimDeviceOptions options);
  ~SimDriver();

  /// Valid as long as this is. One context; calls come from one thread.
  const Driver &table() const;
  /// `moduleGetFunction` finds it in every module that has no such kernel.
  void addHostKernel(const std::string &name, HostKernel kernel);

  Machine &machine();
  /// Bytes of device memory that are allocated.
  uint64_t used() const;
  /// Work that was enqueued and has not run.
  size_t pending() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace ee::gpu

#endif // EE_GPU_SIM_SIM_DRIVER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs PTX of a kernel test on the GPU simulator: host memory is mirrored in
// device memory, launches are made, and what kernels wrote comes back.

#ifndef ADAPTIVE_UNITTESTS_KERNELS_SIMRUN_H
#define ADAPTIVE_UNITTESTS_KERNELS_SIMRUN_H

#include "AdaptiveDialect/Conversion/Kernels/Kernels.h"
#include "ee/abi.h"

#include <memory>
#include <string>
#include <vector>

namespace ee::gpu {
class Machine;
struct Module;
} // namespace ee::gpu

namespace kernels_test {

struct SimOptions {
  /// 0: lanes together where they can. Else a random order of lanes and warps.
  uint32_t seed = 0;
  std::string sm = "sm_80";
};

class SimRun {
public:
  SimRun(const std::string &ptx, const SimOptions &options);
  ~SimRun();

  /// Host memory that kernels may reach, until the next run.
  void share(const void *data, size_t bytes, const char *name);
  /// Runs the launches over arguments whose pointers lie in shared memory;
  /// empty, or what the simulator found, a line each.
  std::string run(const ee_stage_args &args,
                  const adaptive::kernels::LayerContext &context,
                  const std::vector<adaptive::kernels::Launch> &launches,
                  int64_t kvLevels, size_t weights);

  /// Groups of 16 threads in a launch.
  static constexpr int64_t groups = 8;

private:
  struct Mapping {
    const uint8_t *host;
    size_t bytes;
    uint64_t device;
  };
  template <typename T> T *translate(T *pointer) const;
  uint64_t place(const void *data, size_t bytes, const char *name);

  std::unique_ptr<ee::gpu::Machine> machine;
  std::unique_ptr<ee::gpu::Module> module;
  std::vector<Mapping> mappings;
};

} // namespace kernels_test

#endif // ADAPTIVE_UNITTESTS_KERNELS_SIMRUN_H

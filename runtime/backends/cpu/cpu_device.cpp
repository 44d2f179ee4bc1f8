// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CPU backend: calls the compiled stage functions with the thread team.
#include "ee/device.h"
#include "team.h"

#include <sys/mman.h>

namespace ee {
namespace {

class CpuDevice final : public Device {
public:
  CpuDevice(const Artifact &artifact, int64_t threads)
      : artifact(artifact), team(threads) {}

  Expected<Buffer> allocate(uint64_t bytes) override {
    if (bytes == 0)
      return Buffer();
    void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
      return Failure{"cannot get " + std::to_string(bytes) +
                     " bytes of memory"};
    return Buffer(static_cast<uint8_t *>(data), bytes,
                  [](uint8_t *p, uint64_t n) { munmap(p, n); });
  }

  int64_t workers() const override { return team.workers(); }

  uint64_t submit(const Launch &launch) override {
    ee_stage_args args = launch.args;
    args.team = team.handle();
    args.weights = artifact.weights().data();
    artifact.stages()[size_t(launch.stage)](&args);
    return ++tickets;
  }

  bool poll(uint64_t ticket) override { return ticket <= tickets; }

private:
  const Artifact &artifact;
  Team team;
  uint64_t tickets = 0;
};

} // namespace

std::unique_ptr<Device> createCpuDevice(const Artifact &artifact,
                                        int64_t threads) {
  return std::make_unique<CpuDevice>(artifact, threads);
}

} // namespace ee

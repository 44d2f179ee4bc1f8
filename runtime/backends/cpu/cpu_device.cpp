// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CPU backend: calls the compiled stage functions with the thread team.
#include "ee/device.h"
#include "memory.h"
#include "team.h"

namespace ee {
namespace {

class CpuDevice final : public Device {
public:
  CpuDevice(const Artifact &artifact, int64_t threads)
      : artifact(artifact), team(threads) {}

  const char *name() const override { return "cpu"; }
  int64_t workers() const override { return team.workers(); }

  Expected<Buffer> allocate(uint64_t bytes) override {
    if (bytes == 0)
      return Buffer();
    auto pages = mapPages(bytes);
    if (!pages)
      return pages.takeFailure();
    return Buffer(*this, DeviceAddress(uintptr_t(*pages)), bytes);
  }

  Expected<HostBuffer> allocateHost(uint64_t bytes) override {
    if (bytes == 0)
      return HostBuffer();
    auto pages = mapPages(bytes);
    if (!pages)
      return pages.takeFailure();
    return HostBuffer(*this, *pages, bytes);
  }

  Expected<MirroredMemory> allocateMirrored(uint64_t bytes) override {
    auto buffer = allocate(bytes);
    if (!buffer)
      return buffer.takeFailure();
    MirroredMemory memory;
    memory.data = deviceField<uint8_t>(buffer->address());
    memory.device = std::move(*buffer);
    memory.shared = true;
    return memory;
  }

  Expected<uint64_t> submit(const Submission &submission) override {
    runUploads(submission);
    runFillsAndCopies(submission);
    runLaunches(submission, artifact, team.handle());
    runDownloads(submission);
    return ++tickets;
  }

  Expected<void> wait(uint64_t) override { return {}; }

protected:
  void release(DeviceAddress address, uint64_t bytes) override {
    unmapPages(deviceField<uint8_t>(address), bytes);
  }
  void releaseHost(uint8_t *data, uint64_t bytes) override {
    unmapPages(data, bytes);
  }

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

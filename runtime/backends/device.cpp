// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What all devices share, and the choice among them.
#include "ee/device.h"

#include "ee/file.h"
#include "gpu/gpu.h"
#include "gpu/sim/sim_driver.h"

#include <mutex>

namespace ee {

Buffer::~Buffer() {
  if (device && count)
    device->release(place, count);
}

HostBuffer::~HostBuffer() {
  if (device && count)
    device->releaseHost(pointer, count);
}

Expected<MirroredMemory> Device::allocateMirrored(uint64_t bytes) {
  MirroredMemory memory;
  auto buffer = allocate(bytes);
  if (!buffer)
    return buffer.takeFailure();
  memory.device = std::move(*buffer);
  auto host = allocateHost(bytes);
  if (!host)
    return host.takeFailure();
  memory.host = std::move(*host);
  memory.data = memory.host.data();
  return memory;
}

namespace {
constexpr std::pair<DeviceKind, const char *> kindNames[] = {
    {DeviceKind::Cpu, "cpu"},
    {DeviceKind::Guarded, "guarded"},
    {DeviceKind::Sim, "sim"},
    {DeviceKind::Cuda, "cuda"}};
} // namespace

const char *deviceKindName(DeviceKind kind) {
  return kindNames[size_t(kind)].second;
}

Expected<DeviceKind> parseDeviceKind(std::string_view text) {
  for (auto [kind, name] : kindNames)
    if (text == name)
      return kind;
  return Failure{"no device " + inQuotes(text) +
                 ", accepted are cpu, sim, cuda, and guarded for debugging"};
}

static Expected<std::unique_ptr<Device>>
createSimulated(const Artifact &artifact, const DeviceOptions &options) {
  gpu::SimDeviceOptions simOptions;
  simOptions.check = options.simCheck;
  simOptions.seed = options.simSeed;
  auto driver = std::make_shared<gpu::SimDriver>(simOptions);
  auto opened = gpu::Gpu::open(driver->table(), "sim", driver);
  if (!opened)
    return opened.takeFailure();
  return gpu::createGpuDevice(artifact, std::move(*opened));
}

/// One for the process, so that sessions share the code they load.
static Expected<std::shared_ptr<gpu::Gpu>> openCudaGpu() {
  static std::mutex lock;
  static std::weak_ptr<gpu::Gpu> open;
  std::lock_guard<std::mutex> guard(lock);
  if (auto gpu = open.lock())
    return gpu;
  auto driver = gpu::openCuda();
  if (!driver)
    return driver.takeFailure();
  auto opened = gpu::Gpu::open(std::move(*driver), "cuda", nullptr);
  if (opened)
    open = *opened;
  return opened;
}

Expected<std::unique_ptr<Device>> createDevice(DeviceKind kind,
                                               const Artifact &artifact,
                                               const DeviceOptions &options) {
  switch (kind) {
  case DeviceKind::Cpu:
    return createCpuDevice(artifact, options.threads);
  case DeviceKind::Guarded:
    return createGuardedCpuDevice(artifact, options.threads);
  case DeviceKind::Sim:
    return createSimulated(artifact, options);
  case DeviceKind::Cuda:
    break;
  }
  auto opened = openCudaGpu();
  if (!opened)
    return opened.takeFailure();
  return gpu::createGpuDevice(artifact, std::move(*opened));
}

} // namespace ee

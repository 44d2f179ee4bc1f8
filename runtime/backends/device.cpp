// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What all devices share, and the choice among them.
#include "ee/device.h"

#include "ee/file.h"

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

Expected<std::unique_ptr<Device>>
createDevice(DeviceKind kind, const Artifact &artifact, int64_t threads) {
  switch (kind) {
  case DeviceKind::Cpu:
    return createCpuDevice(artifact, threads);
  case DeviceKind::Guarded:
    return createGuardedCpuDevice(artifact, threads);
  case DeviceKind::Sim:
  case DeviceKind::Cuda:
    break;
  }
  return Failure{std::string("this build has no device ") +
                 deviceKindName(kind) + ": use --device=cpu"};
}

} // namespace ee

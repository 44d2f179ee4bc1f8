// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a backend offers the scheduler: memory of the device, memory of the host
// that the device copies from and to, and submissions that complete later.
//
// The host never follows a device address. What it wants the device to see
// travels as an upload of a submission, what it wants to see as a download, and
// it may look at a download only after the wait. Between submit and wait the
// device owns all memory that the submission names, on both sides.
#ifndef EE_DEVICE_H
#define EE_DEVICE_H

#include "ee/abi.h"
#include "ee/artifact.h"
#include "ee/result.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace ee {

class Device;

/// A place in the memory of a device. The host adds offsets to it and writes it
/// into tables and arguments that the device reads; it never follows it.
using DeviceAddress = uint64_t;

/// The pointer field of an `ee_stage_args` or a table that stands for
/// `address`.
template <typename T> T *deviceField(DeviceAddress address) {
  return reinterpret_cast<T *>(uintptr_t(address));
}

/// Memory of a device, zero at first, aligned to 256 bytes or more. Move only;
/// the device outlives it.
class Buffer {
public:
  Buffer() = default;
  Buffer(Device &device, DeviceAddress address, uint64_t bytes)
      : device(&device), place(address), count(bytes) {}
  Buffer(Buffer &&other) noexcept { swap(other); }
  Buffer &operator=(Buffer &&other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer();

  DeviceAddress address() const { return place; }
  uint64_t bytes() const { return count; }

private:
  void swap(Buffer &other) noexcept {
    std::swap(device, other.device);
    std::swap(place, other.place);
    std::swap(count, other.count);
  }
  Device *device = nullptr;
  DeviceAddress place = 0;
  uint64_t count = 0;
};

/// Memory of the host that the device copies from and to (page-locked where
/// that matters), zero at first. Not to be touched between submit and wait of a
/// submission that names any of it. Move only; the device outlives it.
class HostBuffer {
public:
  HostBuffer() = default;
  HostBuffer(Device &device, uint8_t *data, uint64_t bytes)
      : device(&device), pointer(data), count(bytes) {}
  HostBuffer(HostBuffer &&other) noexcept { swap(other); }
  HostBuffer &operator=(HostBuffer &&other) noexcept {
    swap(other);
    return *this;
  }
  ~HostBuffer();

  uint8_t *data() const { return pointer; }
  uint64_t bytes() const { return count; }

private:
  void swap(HostBuffer &other) noexcept {
    std::swap(device, other.device);
    std::swap(pointer, other.pointer);
    std::swap(count, other.count);
  }
  Device *device = nullptr;
  uint8_t *pointer = nullptr;
  uint64_t count = 0;
};

/// Memory that exists on both sides. Where the device works on the host's
/// memory both are the same bytes (`shared`): nothing needs to be copied then,
/// and `host` owns nothing. The rules about waits hold all the same.
struct MirroredMemory {
  Buffer device;
  HostBuffer host; ///< owns the host's side unless `shared`
  uint8_t *data = nullptr;
  bool shared = false;
};

struct Upload {
  DeviceAddress to = 0;
  const uint8_t *from = nullptr; ///< in a HostBuffer
  uint64_t bytes = 0;
};
struct Fill {
  DeviceAddress to = 0;
  uint64_t bytes = 0;
  uint8_t value = 0;
};
struct DeviceCopy {
  DeviceAddress to = 0, from = 0;
  uint64_t bytes = 0; ///< the two ranges do not overlap
};
struct Download {
  uint8_t *to = nullptr; ///< in a HostBuffer
  DeviceAddress from = 0;
  uint64_t bytes = 0;
};

/// One launch of a stage. Pointers in `args` that abi.h marks [device] hold
/// device addresses; the device fills in `weights` and `team`. The number of
/// active rows lies in device memory; the host knows `args.max_rows`, their
/// bucket, so that everything else of the launch depends on it alone.
struct Launch {
  int32_t stage = 0;
  ee_stage_args args = {};
};

/// Everything between two waits. The device does, in this order: all uploads,
/// all fills, all copies, the launches one after the other, all downloads.
struct Submission {
  std::vector<Upload> uploads;
  std::vector<Fill> fills;
  std::vector<DeviceCopy> copies;
  std::vector<Launch> launches;
  std::vector<Download> downloads;

  bool empty() const {
    return uploads.empty() && fills.empty() && copies.empty() &&
           launches.empty() && downloads.empty();
  }
  /// Keeps the memory of the lists.
  void clear() {
    uploads.clear();
    fills.clear();
    copies.clear();
    launches.clear();
    downloads.clear();
  }
};

class Device {
public:
  virtual ~Device() = default;

  /// "cpu", "guarded", "sim" or "cuda": as `--device` spells it.
  virtual const char *name() const = 0;
  /// Zeroed memory that counts only once it is touched, where the device can.
  /// 0 bytes give an empty buffer.
  virtual Expected<Buffer> allocate(uint64_t bytes) = 0;
  /// Host memory for uploads and downloads.
  virtual Expected<HostBuffer> allocateHost(uint64_t bytes) = 0;
  /// Both sides of a mirror: by default one of each.
  virtual Expected<MirroredMemory> allocateMirrored(uint64_t bytes);
  /// Pieces of scratch that kernels of one launch may use at the same time.
  virtual int64_t workers() const = 0;

  /// Starts a submission; submissions run in order. The lists are read before
  /// this returns, the memory they name is the device's until the wait.
  virtual Expected<uint64_t> submit(const Submission &submission) = 0;
  /// Blocks, without spinning, until the submission with this ticket and all
  /// before it are done and what they downloaded is visible.
  virtual Expected<void> wait(uint64_t ticket) = 0;

protected:
  friend class Buffer;
  friend class HostBuffer;
  virtual void release(DeviceAddress address, uint64_t bytes) = 0;
  virtual void releaseHost(uint8_t *data, uint64_t bytes) = 0;
};

/// The CPU: submissions run inside of `submit`, mirrors are shared. `artifact`
/// is loaded with CPU code and outlives the device.
std::unique_ptr<Device> createCpuDevice(const Artifact &artifact,
                                        int64_t threads);

/// The CPU as a machine apart, to find accesses around the device: its memory
/// has no access but while a submission runs, mirrors are copied, submissions
/// run at the wait, and host memory that they name has no access until then.
std::unique_ptr<Device> createGuardedCpuDevice(const Artifact &artifact,
                                               int64_t threads);

struct DeviceOptions {
  int64_t threads = 1; ///< of the CPU
  /// The simulated GPU looks for races, reads of memory that was never
  /// written, and .nc loads of what a launch writes.
  bool simCheck = false;
  /// The simulated GPU runs CTAs, warps and lanes in a random order; 0: in
  /// order.
  uint32_t simSeed = 0;
};

/// The device of this kind for an artifact loaded for it, or one line that says
/// why there is none.
Expected<std::unique_ptr<Device>> createDevice(DeviceKind kind,
                                               const Artifact &artifact,
                                               const DeviceOptions &options);

} // namespace ee

#endif // EE_DEVICE_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a backend offers the scheduler: memory, and launches that complete
// later. The CPU completes at once; the interface does not rely on it.
#ifndef EE_DEVICE_H
#define EE_DEVICE_H

#include "ee/abi.h"
#include "ee/artifact.h"
#include "ee/result.h"

#include <cstdint>
#include <memory>
#include <utility>

namespace ee {

/// Memory of a device, aligned to a page and zero at first. Move only.
class Buffer {
public:
  using Free = void (*)(uint8_t *data, uint64_t bytes);
  Buffer() = default;
  Buffer(uint8_t *data, uint64_t bytes, Free free)
      : pointer(data), count(bytes), free(free) {}
  Buffer(Buffer &&other) noexcept
      : pointer(std::exchange(other.pointer, nullptr)),
        count(std::exchange(other.count, 0)), free(other.free) {}
  Buffer &operator=(Buffer &&other) noexcept {
    std::swap(pointer, other.pointer);
    std::swap(count, other.count);
    std::swap(free, other.free);
    return *this;
  }
  ~Buffer() {
    if (pointer)
      free(pointer, count);
  }

  uint8_t *data() const { return pointer; }
  uint64_t bytes() const { return count; }

private:
  uint8_t *pointer = nullptr;
  uint64_t count = 0;
  Free free = nullptr;
};

/// One launch of a stage. `args.rows` and the columns must stay as they are
/// until the launch is done.
struct Launch {
  int32_t stage = 0;
  ee_stage_args args = {};
};

class Device {
public:
  virtual ~Device() = default;

  /// Zeroed memory that counts only once it is touched.
  virtual Expected<Buffer> allocate(uint64_t bytes) = 0;
  /// Threads that kernels may run on; scratch is needed for each.
  virtual int64_t workers() const = 0;
  /// Starts a launch. Launches run in the order in which they are submitted.
  virtual uint64_t submit(const Launch &launch) = 0;
  /// Whether the launch with this ticket is done, and what it wrote visible.
  virtual bool poll(uint64_t ticket) = 0;
};

/// The CPU: launches run inside of `submit`. `artifact` is loaded and outlives
/// the device.
std::unique_ptr<Device> createCpuDevice(const Artifact &artifact,
                                        int64_t threads);

} // namespace ee

#endif // EE_DEVICE_H

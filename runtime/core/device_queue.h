// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the host has for the device until the next wait: it records launches and
// fills, and `sync` submits them with the uploads and downloads of the mirrors
// and waits. Host writes to mirrors reach the device before the launches
// recorded, so none may happen between a launch and the sync behind it.
#ifndef EE_CORE_DEVICE_QUEUE_H
#define EE_CORE_DEVICE_QUEUE_H

#include "core/mirror.h"
#include "ee/device.h"

#include <cassert>
#include <cstdint>
#include <memory>

namespace ee {

class DeviceQueue {
public:
  /// `mirrorBytes`: the sum of `MirrorBlock::bytesOf` all mirrors.
  static Expected<std::unique_ptr<DeviceQueue>> create(Device &device,
                                                       uint64_t mirrorBytes);

  Device &device() const { return target; }
  MirrorBlock &mirrors() { return block; }
  uint64_t bytes() const { return block.bytes(); }

  /// Whether launches are recorded whose results the host has not seen.
  bool launched() const { return !submission.launches.empty(); }
  /// Whether the next launch must wait for a sync.
  bool full() const { return submission.launches.size() == mostLaunches; }
  void launch(const Launch &launch) { submission.launches.push_back(launch); }
  /// Clears device memory ahead of all launches of the submission.
  void clear(DeviceAddress to, uint64_t bytes) {
    assert(!launched() && "fills run before the launches");
    submission.fills.push_back({to, bytes, 0});
  }
  /// Device memory that the host wants to see after the next sync.
  void download(uint8_t *to, DeviceAddress from, uint64_t bytes) {
    submission.downloads.push_back({to, from, bytes});
  }
  /// The same for a mirror.
  void downloadMirror(uint64_t offset, uint64_t bytes) {
    block.addDownload(offset, bytes, submission.downloads);
  }

  /// Submits all that is recorded and waits for it: one wait.
  Expected<void> sync();
  /// Forgets what is recorded, where a step failed.
  void discard() { submission.clear(); }
  /// How often `sync` waited.
  int64_t waits() const { return waitCount; }

private:
  static constexpr size_t mostLaunches = 64;

  DeviceQueue(Device &device, MirrorBlock block)
      : target(device), block(std::move(block)) {}

  Device &target;
  MirrorBlock block;
  Submission submission;
  int64_t waitCount = 0;
};

} // namespace ee

#endif // EE_CORE_DEVICE_QUEUE_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Submits and waits; see device_queue.h.
#include "device_queue.h"

namespace ee {

Expected<std::unique_ptr<DeviceQueue>> DeviceQueue::create(Device &device,
                                                           uint64_t bytes) {
  auto block = MirrorBlock::create(device, bytes);
  if (!block)
    return Failure{"tables and row columns: " + block.error()};
  std::unique_ptr<DeviceQueue> queue(
      new DeviceQueue(device, std::move(*block)));
  // Steps allocate nothing.
  queue->submission.uploads.reserve(queue->block.mostUploads());
  queue->submission.launches.reserve(mostLaunches);
  queue->submission.downloads.reserve(4);
  return queue;
}

Expected<void> DeviceQueue::sync() {
  block.takeUploads(submission.uploads);
  if (submission.empty())
    return {};
  auto ticket = target.submit(submission);
  submission.clear();
  if (!ticket)
    return ticket.takeFailure();
  ++waitCount;
  return target.wait(*ticket);
}

} // namespace ee

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pages and the parts of a submission; see memory.h.
#include "memory.h"

#include <cstring>
#include <sys/mman.h>

namespace ee {

Expected<uint8_t *> mapPages(uint64_t bytes) {
  void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED)
    return Failure{"cannot get " + std::to_string(bytes) + " bytes of memory"};
  return static_cast<uint8_t *>(data);
}

void unmapPages(uint8_t *pages, uint64_t bytes) { munmap(pages, bytes); }

void runUploads(const Submission &submission) {
  for (const Upload &upload : submission.uploads)
    std::memcpy(deviceField<uint8_t>(upload.to), upload.from,
                size_t(upload.bytes));
}

void runFillsAndCopies(const Submission &submission) {
  for (const Fill &fill : submission.fills)
    std::memset(deviceField<uint8_t>(fill.to), fill.value, size_t(fill.bytes));
  for (const DeviceCopy &copy : submission.copies)
    std::memcpy(deviceField<uint8_t>(copy.to), deviceField<uint8_t>(copy.from),
                size_t(copy.bytes));
}

void runLaunches(const Submission &submission, const Artifact &artifact,
                 ee_team *team) {
  for (const Launch &launch : submission.launches) {
    ee_stage_args args = launch.args;
    args.team = team;
    args.weights = artifact.weights().data();
    artifact.stages()[size_t(launch.stage)](&args);
  }
}

void runDownloads(const Submission &submission) {
  for (const Download &download : submission.downloads)
    std::memcpy(download.to, deviceField<uint8_t>(download.from),
                size_t(download.bytes));
}

} // namespace ee

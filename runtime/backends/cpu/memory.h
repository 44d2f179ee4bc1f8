// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Zeroed pages of the host, which the CPU devices use as device memory.
#ifndef EE_BACKENDS_CPU_MEMORY_H
#define EE_BACKENDS_CPU_MEMORY_H

#include "ee/device.h"

namespace ee {

/// Whole pages that count only once they are touched.
Expected<uint8_t *> mapPages(uint64_t bytes);
void unmapPages(uint8_t *pages, uint64_t bytes);

/// Runs the parts of a submission on memory of this process.
void runUploads(const Submission &submission);
void runFillsAndCopies(const Submission &submission);
void runLaunches(const Submission &submission, const Artifact &artifact,
                 ee_team *team);
void runDownloads(const Submission &submission);

} // namespace ee

#endif // EE_BACKENDS_CPU_MEMORY_H

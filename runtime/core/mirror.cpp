// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Marks and transfers of mirrors; see mirror.h.
#include "mirror.h"

#include <algorithm>

namespace ee {
namespace {
/// A transfer costs more than taking this many unmarked bytes along.
constexpr uint64_t mergedGap = uint64_t(16) << 10;
} // namespace

Expected<MirrorBlock> MirrorBlock::create(Device &device, uint64_t bytes) {
  MirrorBlock block;
  auto memory = device.allocateMirrored(std::max<uint64_t>(bytes, 64));
  if (!memory)
    return memory.takeFailure();
  block.memory = std::move(*memory);
  if (!block.memory.shared)
    block.marks.assign(
        size_t((block.memory.device.bytes() + granule - 1) / granule), 0);
  return block;
}

void MirrorBlock::mark(uint64_t offset, uint64_t bytes) {
  if (marks.empty() || bytes == 0)
    return;
  uint64_t first = offset / granule, last = (offset + bytes - 1) / granule;
  std::fill(marks.begin() + std::ptrdiff_t(first),
            marks.begin() + std::ptrdiff_t(last + 1), uint8_t(1));
  lowest = std::min(lowest, first);
  highest = std::max(highest, last);
}

void MirrorBlock::takeUploads(std::vector<Upload> &uploads) {
  if (marks.empty() || lowest == UINT64_MAX)
    return;
  auto upload = [&](uint64_t first, uint64_t last) {
    uint64_t begin = first * granule;
    uint64_t end = std::min((last + 1) * granule, memory.device.bytes());
    uploads.push_back({address() + begin, data() + begin, end - begin});
  };
  uint64_t first = lowest, last = lowest;
  for (uint64_t i = lowest; i <= highest; ++i) {
    if (!marks[size_t(i)])
      continue;
    marks[size_t(i)] = 0;
    if ((i - last) * granule > mergedGap) {
      upload(first, last);
      first = i;
    }
    last = i;
  }
  upload(first, last);
  lowest = UINT64_MAX;
  highest = 0;
}

size_t MirrorBlock::mostUploads() const {
  return marks.empty() ? 0 : size_t(memory.device.bytes() / mergedGap) + 1;
}

void MirrorBlock::addDownload(uint64_t offset, uint64_t bytes,
                              std::vector<Download> &downloads) const {
  if (!memory.shared && bytes)
    downloads.push_back({data() + offset, address() + offset, bytes});
}

} // namespace ee

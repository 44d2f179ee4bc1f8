// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Memory of the device that the host writes and reads through a mirror. The
// host writes its side and marks what it wrote; the marks become uploads of the
// next submission. Whatever else the device wrote into a mirror is downloaded
// with the same submission, so after a wait both sides are equal but for what
// is marked: an upload may therefore take unmarked neighbours along.
#ifndef EE_CORE_MIRROR_H
#define EE_CORE_MIRROR_H

#include "ee/device.h"

#include <cassert>
#include <cstdint>
#include <span>
#include <vector>

namespace ee {

class MirrorBlock;

/// An array in a MirrorBlock, which outlives it.
template <typename T> class Mirrored {
public:
  Mirrored() = default;
  Mirrored(MirrorBlock &block, uint64_t offset, int64_t count)
      : block(&block), offset(offset), count(count) {}

  const T &operator[](int64_t i) const { return data()[i]; }
  std::span<const T> all() const { return {data(), size_t(count)}; }
  int64_t size() const { return count; }
  /// Where element `i` lies on the device.
  DeviceAddress address(int64_t i = 0) const;
  void set(int64_t i, const T &value) { *write(i, 1) = value; }
  /// The host's side of `n` elements, all of which are marked as written.
  T *write(int64_t first, int64_t n);
  /// Offset of element `i` in the block.
  uint64_t place(int64_t i) const { return offset + uint64_t(i) * sizeof(T); }

private:
  const T *data() const;

  MirrorBlock *block = nullptr;
  uint64_t offset = 0;
  int64_t count = 0;
};

/// All mirrors of a session, in one piece on either side.
class MirrorBlock {
public:
  static Expected<MirrorBlock> create(Device &device, uint64_t bytes);

  /// Bytes that an array takes of a block.
  template <typename T> static constexpr uint64_t bytesOf(int64_t count) {
    return (uint64_t(count) * sizeof(T) + 63) / 64 * 64;
  }
  /// Hands out the next array; `create` got the sum of `bytesOf` all of them.
  template <typename T> Mirrored<T> take(int64_t count) {
    Mirrored<T> result(*this, used, count);
    used += bytesOf<T>(count);
    assert(used <= memory.device.bytes() && "more mirrors than planned");
    return result;
  }

  uint8_t *data() const { return memory.data; }
  DeviceAddress address() const { return memory.device.address(); }
  /// Bytes on both sides.
  uint64_t bytes() const { return memory.device.bytes() + memory.host.bytes(); }

  /// The host wrote these bytes of its side.
  void mark(uint64_t offset, uint64_t bytes);
  /// Turns the marks into uploads, at most `mostUploads`, and clears them.
  void takeUploads(std::vector<Upload> &uploads);
  size_t mostUploads() const;
  /// Adds the download that makes the host see what the device wrote there.
  void addDownload(uint64_t offset, uint64_t bytes,
                   std::vector<Download> &downloads) const;

private:
  static constexpr uint64_t granule = 256;

  MirroredMemory memory;
  uint64_t used = 0;
  std::vector<uint8_t> marks; ///< by granule; none where memory is shared
  uint64_t lowest = UINT64_MAX, highest = 0; ///< granules marked
};

template <typename T> const T *Mirrored<T>::data() const {
  return reinterpret_cast<const T *>(block->data() + offset);
}
template <typename T> DeviceAddress Mirrored<T>::address(int64_t i) const {
  return block->address() + place(i);
}
template <typename T> T *Mirrored<T>::write(int64_t first, int64_t n) {
  block->mark(place(first), uint64_t(n) * sizeof(T));
  return reinterpret_cast<T *>(block->data() + place(first));
}

} // namespace ee

#endif // EE_CORE_MIRROR_H

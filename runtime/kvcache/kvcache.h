// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pages and block tables per (sequence, level). Rollback, speculation and
// preemption are the four operations reserve, commit, truncate, release.
// Reserving is planned first: a plan that does not fit changes nothing, and a
// plan that fits cannot fail. Nothing is allocated after construction.
#ifndef EE_KVCACHE_KVCACHE_H
#define EE_KVCACHE_KVCACHE_H

#include "core/device_queue.h"
#include "ee/abi.h"
#include "ee/manifest.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ee {

struct KvOptions {
  int64_t sequences = 1;
  /// Most positions of one sequence.
  int64_t maxPositions = 0;
  /// Pages of each level.
  int64_t pages = 0;
  /// Not 0: pages are handed out in an order shuffled by this seed.
  uint64_t shuffleSeed = 0;
  /// Clear a page when it is handed out, so that contents can be compared.
  bool clearPages = false;
};

/// Wish: `sequence` may store positions below `length` at `level`.
struct KvReservation {
  int32_t sequence = 0;
  int32_t level = 0;
  int64_t length = 0;
};

class KvCache {
public:
  /// Bytes that `create` takes of the queue's mirrors. Fails where the sizes
  /// overflow.
  static Expected<uint64_t> mirrorBytes(const Manifest &manifest,
                                        const KvOptions &options);
  /// Fails where the sizes overflow or memory is short. `queue` outlives the
  /// cache.
  static Expected<KvCache> create(DeviceQueue &queue, const Manifest &manifest,
                                  const KvOptions &options);

  /// Whether all of `wishes` fit together. Each (sequence, level) may stand in
  /// it once. Changes nothing.
  bool fits(std::span<const KvReservation> wishes) const;
  /// Applies wishes for which `fits` holds: adds the pages they need.
  void reserve(std::span<const KvReservation> wishes);
  /// States that positions below `length` are stored, and gives the pages
  /// reserved beyond them back. `length` is at most what is reserved.
  void commit(int32_t sequence, int32_t level, int64_t length);
  /// Forgets positions from `length` on. `length` is at most what is stored.
  void truncate(int32_t sequence, int32_t level, int64_t length);
  /// Gives back all pages of a sequence.
  void release(int32_t sequence);

  int64_t stored(int32_t sequence, int32_t level) const {
    return lengths[index(sequence, level)];
  }
  int64_t reserved(int32_t sequence, int32_t level) const {
    return held[index(sequence, level)] * pagePositions;
  }
  int64_t freePages(int32_t level) const {
    return int64_t(levels[size_t(level)].free.size());
  }
  int64_t totalPages() const { return pages; }
  int64_t levelCount() const { return int64_t(levels.size()); }
  /// Pages that `length` positions of a level take.
  int64_t pagesFor(int64_t length) const {
    return (length + pagePositions - 1) / pagePositions;
  }
  /// Reads the page that holds a stored position from the device, for tests
  /// and hashes; waits. Valid until the next call.
  Expected<std::span<const uint8_t>> page(int32_t sequence, int32_t level,
                                          int64_t pageOfSequence);

  /// Of the pages; tables are mirrors.
  uint64_t bytes() const;
  /// Where the `ee_kv_level` of each level lie; what compiled code sees.
  DeviceAddress view() const { return views.address(); }
  /// [sequence][page of sequence], each sequence `tableStride` entries.
  std::span<const int32_t> table(int32_t level) const {
    return levels[size_t(level)].table.all();
  }
  int64_t tableStride() const { return stride; }

private:
  struct Level {
    Buffer pages;
    int64_t pageBytes = 0;
    Mirrored<int32_t> table;   // [sequence][page of sequence]
    std::vector<int32_t> free; // a stack
  };

  KvCache() = default;
  Expected<Level> createLevel(const KvLevelEntry &entry, uint64_t shuffleSeed);
  size_t index(int32_t sequence, int32_t level) const {
    return size_t(level) * size_t(sequences) + size_t(sequence);
  }
  void setHeld(int32_t sequence, int32_t level, int64_t count);

  int64_t sequences = 0, stride = 0, pages = 0, pagePositions = 1;
  bool clearPages = false;
  std::vector<Level> levels;
  std::vector<int64_t> held;         // pages, by level and sequence
  std::vector<int64_t> lengths;      // positions, by level and sequence
  mutable std::vector<int64_t> need; // by level, scratch of `fits`
  Mirrored<ee_kv_level> views;
  DeviceQueue *queue = nullptr;
  HostBuffer read; // one page
};

} // namespace ee

#endif // EE_KVCACHE_KVCACHE_H

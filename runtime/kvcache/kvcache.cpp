// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pages and block tables; see kvcache.h.
#include "kvcache.h"

#include "ee/checked.h"

#include <algorithm>
#include <cassert>
#include <random>

namespace ee {

namespace {
int64_t pagesPerSequence(const Manifest &manifest, const KvOptions &options) {
  return (options.maxPositions + manifest.pagePositions - 1) /
         manifest.pagePositions;
}
} // namespace

Expected<uint64_t> KvCache::mirrorBytes(const Manifest &manifest,
                                        const KvOptions &options) {
  auto entries =
      checkedMul(options.sequences, pagesPerSequence(manifest, options));
  if (!entries || *entries > (int64_t(1) << 31) || options.pages < 1 ||
      options.pages > INT32_MAX)
    return Failure{"the KV cache would need too many pages: fewer sequences "
                   "or a smaller length would be accepted"};
  return manifest.levels.size() * MirrorBlock::bytesOf<int32_t>(*entries) +
         MirrorBlock::bytesOf<ee_kv_level>(int64_t(manifest.levels.size()));
}

Expected<KvCache> KvCache::create(DeviceQueue &queue, const Manifest &manifest,
                                  const KvOptions &options) {
  if (auto planned = mirrorBytes(manifest, options); !planned)
    return planned.takeFailure();
  KvCache cache;
  cache.queue = &queue;
  cache.sequences = options.sequences;
  cache.pagePositions = manifest.pagePositions;
  cache.stride = pagesPerSequence(manifest, options);
  cache.pages = options.pages;
  cache.clearPages = options.clearPages;
  cache.views =
      queue.mirrors().take<ee_kv_level>(int64_t(manifest.levels.size()));
  int64_t largest = 0;
  for (const KvLevelEntry &entry : manifest.levels) {
    auto level = cache.createLevel(entry, options.shuffleSeed);
    if (!level)
      return level.takeFailure();
    cache.views.set(int64_t(cache.levels.size()),
                    {deviceField<uint8_t>(level->pages.address()),
                     deviceField<const int32_t>(level->table.address()),
                     cache.stride});
    cache.levels.push_back(std::move(*level));
    largest = std::max(largest, entry.pageBytes);
  }
  auto read = queue.device().allocateHost(uint64_t(largest));
  if (!read)
    return Failure{"KV cache: " + read.error()};
  cache.read = std::move(*read);
  cache.held.assign(cache.levels.size() * size_t(options.sequences), 0);
  cache.lengths = cache.held;
  cache.need.assign(cache.levels.size(), 0);
  return cache;
}

Expected<KvCache::Level> KvCache::createLevel(const KvLevelEntry &entry,
                                              uint64_t shuffleSeed) {
  Level level;
  level.pageBytes = entry.pageBytes;
  auto bytes = checkedMul(entry.pageBytes, pages);
  if (!bytes)
    return Failure{"the KV cache of level " + inQuotes(entry.name) +
                   " would be too large"};
  auto buffer = queue->device().allocate(uint64_t(*bytes));
  if (!buffer)
    return Failure{"KV cache: " + buffer.error()};
  level.pages = std::move(*buffer);
  level.table = queue->mirrors().take<int32_t>(sequences * stride);
  level.free.reserve(size_t(pages));
  // Handed out from the back: page 0 first unless shuffled.
  for (int64_t i = pages; i-- > 0;)
    level.free.push_back(int32_t(i));
  if (shuffleSeed) {
    std::mt19937_64 random(shuffleSeed + levels.size());
    for (size_t i = level.free.size(); i > 1; --i)
      std::swap(level.free[i - 1], level.free[random() % i]);
  }
  return level;
}

bool KvCache::fits(std::span<const KvReservation> wishes) const {
  std::fill(need.begin(), need.end(), 0);
  for (const KvReservation &wish : wishes) {
    int64_t want = pagesFor(wish.length);
    if (want > stride)
      return false;
    need[size_t(wish.level)] +=
        std::max<int64_t>(0, want - held[index(wish.sequence, wish.level)]);
  }
  for (size_t i = 0; i < levels.size(); ++i)
    if (need[i] > int64_t(levels[i].free.size()))
      return false;
  return true;
}

void KvCache::setHeld(int32_t sequence, int32_t level, int64_t count) {
  Level &l = levels[size_t(level)];
  int64_t &now = held[index(sequence, level)];
  int64_t row = int64_t(sequence) * stride;
  while (now > count)
    l.free.push_back(l.table[row + --now]);
  while (now < count) {
    int32_t page = l.free.back();
    l.free.pop_back();
    if (clearPages)
      queue->clear(l.pages.address() + uint64_t(page) * uint64_t(l.pageBytes),
                   uint64_t(l.pageBytes));
    l.table.set(row + now++, page);
  }
}

void KvCache::reserve(std::span<const KvReservation> wishes) {
  assert(fits(wishes) && "reserve needs a plan that fits");
  for (const KvReservation &wish : wishes) {
    int64_t want = pagesFor(wish.length);
    if (want > held[index(wish.sequence, wish.level)])
      setHeld(wish.sequence, wish.level, want);
  }
}

void KvCache::commit(int32_t sequence, int32_t level, int64_t length) {
  assert(length <= reserved(sequence, level) && "commit beyond the reserve");
  lengths[index(sequence, level)] = length;
  setHeld(sequence, level, pagesFor(length));
}

void KvCache::truncate(int32_t sequence, int32_t level, int64_t length) {
  assert(length <= stored(sequence, level) && "truncate beyond what is stored");
  commit(sequence, level, length);
}

void KvCache::release(int32_t sequence) {
  for (size_t level = 0; level < levels.size(); ++level)
    commit(sequence, int32_t(level), 0);
}

uint64_t KvCache::bytes() const {
  uint64_t total = 0;
  for (const Level &level : levels)
    total += level.pages.bytes();
  return total;
}

Expected<std::span<const uint8_t>>
KvCache::page(int32_t sequence, int32_t level, int64_t pageOfSequence) {
  const Level &l = levels[size_t(level)];
  int32_t page = l.table[int64_t(sequence) * stride + pageOfSequence];
  uint64_t bytes = uint64_t(l.pageBytes);
  queue->download(read.data(), l.pages.address() + uint64_t(page) * bytes,
                  bytes);
  if (auto ok = queue->sync(); !ok)
    return ok.takeFailure();
  return std::span<const uint8_t>(read.data(), size_t(bytes));
}

} // namespace ee

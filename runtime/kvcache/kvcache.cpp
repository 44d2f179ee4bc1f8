// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Pages and block tables; see kvcache.h.
#include "kvcache.h"

#include "ee/checked.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <random>

namespace ee {

Expected<KvCache> KvCache::create(Device &device, const Manifest &manifest,
                                  const KvOptions &options) {
  KvCache cache;
  cache.sequences = options.sequences;
  cache.pagePositions = manifest.pagePositions;
  cache.stride = cache.pagesFor(options.maxPositions);
  cache.pages = options.pages;
  cache.clearPages = options.clearPages;
  auto entries = checkedMul(options.sequences, cache.stride);
  if (!entries || *entries > (int64_t(1) << 31) || options.pages < 1 ||
      options.pages > INT32_MAX)
    return Failure{"the KV cache would need too many pages: fewer sequences "
                   "or a smaller length would be accepted"};
  for (const KvLevelEntry &entry : manifest.levels) {
    Level level;
    level.pageBytes = entry.pageBytes;
    auto bytes = checkedMul(entry.pageBytes, options.pages);
    if (!bytes)
      return Failure{"the KV cache of level " + inQuotes(entry.name) +
                     " would be too large"};
    auto buffer = device.allocate(uint64_t(*bytes));
    if (!buffer)
      return Failure{"KV cache: " + buffer.error()};
    level.pages = std::move(*buffer);
    level.table.assign(size_t(*entries), 0);
    level.free.reserve(size_t(options.pages));
    // Handed out from the back: page 0 first unless shuffled.
    for (int64_t i = options.pages; i-- > 0;)
      level.free.push_back(int32_t(i));
    if (options.shuffleSeed) {
      std::mt19937_64 random(options.shuffleSeed + cache.levels.size());
      for (size_t i = level.free.size(); i > 1; --i)
        std::swap(level.free[i - 1], level.free[random() % i]);
    }
    cache.levels.push_back(std::move(level));
  }
  cache.held.assign(cache.levels.size() * size_t(options.sequences), 0);
  cache.lengths = cache.held;
  cache.need.assign(cache.levels.size(), 0);
  for (Level &level : cache.levels)
    cache.views.push_back(
        {level.pages.data(), level.table.data(), cache.stride});
  return cache;
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
  int32_t *row = l.table.data() + int64_t(sequence) * stride;
  while (now > count)
    l.free.push_back(row[--now]);
  while (now < count) {
    int32_t page = l.free.back();
    l.free.pop_back();
    if (clearPages)
      std::memset(l.pages.data() + int64_t(page) * l.pageBytes, 0,
                  size_t(l.pageBytes));
    row[now++] = page;
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

std::span<const uint8_t> KvCache::page(int32_t sequence, int32_t level,
                                       int64_t pageOfSequence) const {
  const Level &l = levels[size_t(level)];
  int32_t page = l.table[size_t(int64_t(sequence) * stride + pageOfSequence)];
  return {l.pages.data() + int64_t(page) * l.pageBytes, size_t(l.pageBytes)};
}

} // namespace ee

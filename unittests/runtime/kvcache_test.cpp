// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// reserve, commit, truncate, release: plans change nothing unless they fit,
// no page is lost or handed out twice, and the device sees what the host sees.
#include "kvcache/kvcache.h"
#include "toy_model.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace {
using ee::KvCache;
using ee::KvReservation;

class KvCacheTest : public testing::TestWithParam<toy::TestDevice> {
protected:
  KvCacheTest() : model("exact"), device(GetParam().make(model.artifact, 1)) {}
  KvCache make(int64_t pages, uint64_t shuffle = 0) {
    ee::KvOptions options;
    options.sequences = 4;
    options.maxPositions = 40;
    options.pages = pages;
    options.shuffleSeed = shuffle;
    return make(options);
  }
  KvCache make(ee::KvOptions options) {
    const ee::Manifest &manifest = model.artifact.manifest();
    auto queue = ee::DeviceQueue::create(
        *device, *KvCache::mirrorBytes(manifest, options));
    EXPECT_TRUE(queue);
    queues.push_back(std::move(*queue));
    auto cache = KvCache::create(*queues.back(), manifest, options);
    EXPECT_TRUE(cache);
    return std::move(*cache);
  }
  static std::vector<int32_t> table(const KvCache &cache) {
    auto all = cache.table(0);
    return {all.begin(), all.end()};
  }
  toy::Model model;
  std::unique_ptr<ee::Device> device;
  std::vector<std::unique_ptr<ee::DeviceQueue>> queues; ///< of the caches
};

TEST_P(KvCacheTest, APlanThatDoesNotFitChangesNothing) {
  KvCache cache = make(5);
  std::vector<KvReservation> some = {{0, 0, 9}, {1, 0, 4}}; // 3 + 1 pages
  ASSERT_TRUE(cache.fits(some));
  cache.reserve(some);
  cache.commit(0, 0, 9);
  cache.commit(1, 0, 4);
  std::vector<int32_t> before = table(cache);
  EXPECT_EQ(cache.freePages(0), 1);
  std::vector<KvReservation> tooMany = {{0, 0, 10}, {1, 0, 8}, {2, 0, 1}};
  EXPECT_FALSE(cache.fits(tooMany));
  EXPECT_EQ(cache.freePages(0), 1);
  EXPECT_EQ(cache.stored(0, 0), 9);
  EXPECT_EQ(cache.reserved(1, 0), 4);
  EXPECT_EQ(before, table(cache));
  std::vector<KvReservation> fits = {{0, 0, 12}, {1, 0, 8}};
  EXPECT_TRUE(cache.fits(fits));
  EXPECT_FALSE(cache.fits(std::vector<KvReservation>{{0, 1, 41}}));
}

TEST_P(KvCacheTest, CommitTrimsAndTruncateRollsBack) {
  KvCache cache = make(10);
  std::vector<KvReservation> wish = {{2, 1, 17}};
  ASSERT_TRUE(cache.fits(wish));
  cache.reserve(wish);
  EXPECT_EQ(cache.reserved(2, 1), 20);
  EXPECT_EQ(cache.stored(2, 1), 0);
  cache.commit(2, 1, 6);
  EXPECT_EQ(cache.reserved(2, 1), 8);
  EXPECT_EQ(cache.freePages(1), 8);
  cache.truncate(2, 1, 4);
  EXPECT_EQ(cache.stored(2, 1), 4);
  EXPECT_EQ(cache.freePages(1), 9);
  cache.release(2);
  EXPECT_EQ(cache.freePages(1), 10);
}

TEST_P(KvCacheTest, PagesAreNeverShared) {
  for (uint64_t shuffle : {0, 5}) {
    KvCache cache = make(24, shuffle);
    std::mt19937 random(4);
    for (int round = 0; round < 3000; ++round) {
      int32_t sequence = int32_t(random() % 4), level = int32_t(random() % 3);
      if (random() % 8 == 0) {
        cache.release(sequence);
      } else {
        std::vector<KvReservation> wish = {
            {sequence, level, int64_t(random() % 44)}};
        if (!cache.fits(wish))
          continue;
        cache.reserve(wish);
        cache.commit(sequence, level,
                     int64_t(random()) % (cache.reserved(sequence, level) + 1));
      }
      for (int32_t l = 0; l < 3; ++l) {
        std::set<int32_t> seen;
        int64_t held = 0;
        for (int32_t s = 0; s < 4; ++s)
          for (int64_t p = 0; p < cache.reserved(s, l) / TOY_PAGE; ++p, ++held)
            seen.insert(cache.table(l)[size_t(s * cache.tableStride() + p)]);
        ASSERT_EQ(int64_t(seen.size()), held);
        ASSERT_EQ(held + cache.freePages(l), 24);
      }
    }
    for (int32_t s = 0; s < 4; ++s)
      cache.release(s);
    for (int32_t l = 0; l < 3; ++l)
      EXPECT_EQ(cache.freePages(l), 24);
  }
}

TEST_P(KvCacheTest, ShufflingMovesPages) {
  KvCache plain = make(24), shuffled = make(24, 3);
  std::vector<KvReservation> wish = {{0, 0, 40}};
  plain.reserve(wish);
  shuffled.reserve(wish);
  EXPECT_NE(table(plain), table(shuffled));
}

TEST_P(KvCacheTest, TheDeviceSeesTablesAndClearedPages) {
  ee::KvOptions options;
  options.sequences = 2;
  options.maxPositions = 40;
  options.pages = 12;
  options.shuffleSeed = 9;
  options.clearPages = true;
  KvCache cache = make(options);
  ee::DeviceQueue &queue = *queues.back();
  auto bytes = device->allocateHost(512);
  ASSERT_TRUE(bytes);
  std::vector<KvReservation> wish = {{1, 2, 17}};
  cache.reserve(wish);
  int32_t page = cache.table(2)[size_t(cache.tableStride())];
  auto view = std::make_unique<ee_kv_level[]>(3);
  ASSERT_TRUE(queue.sync());
  queue.download(bytes->data(), cache.view(), 3 * sizeof(ee_kv_level));
  ASSERT_TRUE(queue.sync());
  std::memcpy(view.get(), bytes->data(), 3 * sizeof(ee_kv_level));
  EXPECT_EQ(view[2].table_stride, 10);
  auto tableAt = ee::DeviceAddress(uintptr_t(view[2].table));
  queue.download(bytes->data(), tableAt + 4 * 10, 5 * 4);
  ASSERT_TRUE(queue.sync());
  for (size_t i = 0; i < 5; ++i) {
    int32_t entry;
    std::memcpy(&entry, bytes->data() + 4 * i, 4);
    EXPECT_EQ(entry, cache.table(2)[10 + i]);
  }
  // Dirty the first page on the device, hand it out again: it is clear.
  auto pageAt = ee::DeviceAddress(uintptr_t(view[2].pages)) + page * 256;
  std::memset(bytes->data(), 0x5a, 256);
  ee::Submission dirty;
  dirty.uploads.push_back({pageAt, bytes->data(), 256});
  ASSERT_TRUE(device->wait(*device->submit(dirty)));
  EXPECT_EQ((*cache.page(1, 2, 0))[255], 0x5a);
  cache.release(1);
  cache.reserve(wish);
  for (int64_t i = 0; i < 5; ++i)
    if (cache.table(2)[size_t(10 + i)] == page) {
      EXPECT_EQ((*cache.page(1, 2, i))[255], 0);
      return;
    }
  FAIL() << "the page was not handed out again";
}

INSTANTIATE_TEST_SUITE_P(Devices, KvCacheTest,
                         testing::ValuesIn(toy::testDevices),
                         testing::PrintToStringParamName());

} // namespace

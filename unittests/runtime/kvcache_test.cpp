// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// reserve, commit, truncate, release: plans change nothing unless they fit,
// and no page is lost or handed out twice.
#include "kvcache/kvcache.h"
#include "toy_model.h"

#include <gtest/gtest.h>
#include <random>
#include <set>

namespace {
using ee::KvCache;
using ee::KvReservation;

class KvCacheTest : public testing::Test {
protected:
  KvCacheTest()
      : model("exact"), device(ee::createCpuDevice(model.artifact, 1)) {}
  KvCache make(int64_t pages, uint64_t shuffle = 0) {
    ee::KvOptions options;
    options.sequences = 4;
    options.maxPositions = 40;
    options.pages = pages;
    options.shuffleSeed = shuffle;
    auto cache = KvCache::create(*device, model.artifact.manifest(), options);
    EXPECT_TRUE(cache);
    return std::move(*cache);
  }
  toy::Model model;
  std::unique_ptr<ee::Device> device;
};

TEST_F(KvCacheTest, APlanThatDoesNotFitChangesNothing) {
  KvCache cache = make(5);
  std::vector<KvReservation> some = {{0, 0, 9}, {1, 0, 4}}; // 3 + 1 pages
  ASSERT_TRUE(cache.fits(some));
  cache.reserve(some);
  cache.commit(0, 0, 9);
  cache.commit(1, 0, 4);
  std::vector<int32_t> table(cache.view()[0].table, cache.view()[0].table + 40);
  EXPECT_EQ(cache.freePages(0), 1);
  std::vector<KvReservation> tooMany = {{0, 0, 10}, {1, 0, 8}, {2, 0, 1}};
  EXPECT_FALSE(cache.fits(tooMany));
  EXPECT_EQ(cache.freePages(0), 1);
  EXPECT_EQ(cache.stored(0, 0), 9);
  EXPECT_EQ(cache.reserved(1, 0), 4);
  EXPECT_EQ(table, std::vector<int32_t>(cache.view()[0].table,
                                        cache.view()[0].table + 40));
  std::vector<KvReservation> fits = {{0, 0, 12}, {1, 0, 8}};
  EXPECT_TRUE(cache.fits(fits));
  EXPECT_FALSE(cache.fits(std::vector<KvReservation>{{0, 1, 41}}));
}

TEST_F(KvCacheTest, CommitTrimsAndTruncateRollsBack) {
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

TEST_F(KvCacheTest, PagesAreNeverShared) {
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
            seen.insert(cache.view()[l].table[s * 10 + p]);
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

TEST_F(KvCacheTest, ShufflingMovesPages) {
  KvCache plain = make(24), shuffled = make(24, 3);
  std::vector<KvReservation> wish = {{0, 0, 40}};
  plain.reserve(wish);
  shuffled.reserve(wish);
  EXPECT_NE(
      std::vector<int32_t>(plain.view()[0].table, plain.view()[0].table + 10),
      std::vector<int32_t>(shuffled.view()[0].table,
                           shuffled.view()[0].table + 10));
}

} // namespace

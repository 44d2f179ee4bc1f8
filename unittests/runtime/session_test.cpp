// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Whatever a session does with a request (batch width, arrival order, chunks,
// pages, threads, preemption, caps, device), its tokens, depths and logit bits
// are those of the dense reference.
#include "session_workload.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <tuple>

namespace {
using namespace toy;

class SessionTest
    : public testing::TestWithParam<std::tuple<std::string, TestDevice>> {
protected:
  SessionTest()
      : fill(std::get<0>(GetParam())), model(fill, std::get<1>(GetParam())) {}
  void TearDown() override { EXPECT_EQ(model.errors(), 0); }
  std::string fill;
  Model model;
};

TEST_P(SessionTest, OneAtATimeEqualsTheReference) {
  Workload work(24, 1);
  ee::SessionOptions options;
  options.maxSequences = 1;
  work.expectReference(model, fill, options);
}

TEST_P(SessionTest, BatchWidths) {
  for (int64_t width = 1; width <= 16; ++width) {
    Workload work(20, uint32_t(width));
    ee::SessionOptions options;
    options.maxSequences = width;
    work.expectReference(model, fill, options);
  }
}

TEST_P(SessionTest, ChunksAndRowLimits) {
  for (int64_t chunk : {1, 2, 3, 5, 64})
    for (int64_t rows : {7, 8, 33, 512})
      for (int64_t cap : {0, 1, 6}) {
        Workload work(12, uint32_t(chunk * 100 + rows));
        ee::SessionOptions options;
        options.maxSequences = 7;
        options.chunk = chunk;
        options.maxRows = rows;
        options.debtCap = cap;
        options.sampleRows = 3;
        work.expectReference(model, fill, options);
      }
}

TEST_P(SessionTest, ShuffledPagesAndThreads) {
  for (uint64_t seed : {0, 1, 2, 3})
    for (int64_t threads : {1, 2, 3}) {
      Workload work(16, 7);
      ee::SessionOptions options;
      options.maxSequences = 8;
      options.shuffleSeed = seed;
      options.threads = threads;
      work.expectReference(model, fill, options);
    }
}

TEST_P(SessionTest, ArrivalOrders) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    Workload work(16, 11);
    work.shuffleArrivals(seed);
    work.arriveWhileRunning = true;
    ee::SessionOptions options;
    options.maxSequences = 5;
    work.expectReference(model, fill, options);
  }
}

TEST_P(SessionTest, ExplicitPreemption) {
  int64_t preemptions = 0;
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    Workload work(12, seed);
    work.preemptSeed = seed;
    ee::SessionOptions options;
    options.maxSequences = 6;
    options.chunk = 1 + seed % 7;
    preemptions += work.expectReference(model, fill, options).preemptions;
  }
  EXPECT_GT(preemptions, 30);
}

TEST_P(SessionTest, PreemptionWherePagesRunShort) {
  int64_t preemptions = 0;
  for (int64_t pages : {17, 20, 30, 45}) {
    Workload work(20, 5);
    ee::SessionOptions options;
    options.maxSequences = 8;
    options.kvPages = pages;
    preemptions += work.expectReference(model, fill, options).preemptions;
  }
  EXPECT_GT(preemptions, 0);
}

TEST_P(SessionTest, PromptRowsThatLeave) {
  for (int64_t chunk : {1, 4, 64}) {
    Workload work(16, 21);
    work.promptExits();
    ee::SessionOptions options;
    options.maxSequences = 4;
    options.chunk = chunk;
    options.debtCap = 2;
    work.expectReference(model, fill, options);
    work.preemptSeed = 3;
    work.expectReference(model, fill, options);
  }
}

TEST_P(SessionTest, EveryPromptRowEmits) {
  for (int64_t chunk : {1, 4, 64}) {
    Workload work(16, 31);
    work.promptExits();
    for (ee::Request &request : work.requests)
      request.emitAllRows = true;
    work.requests[0].maxNewTokens = 0;
    work.requests[5].maxNewTokens = 0;
    ee::SessionOptions options;
    options.maxSequences = 4;
    options.chunk = chunk;
    work.expectReference(model, fill, options);
  }
}

TEST_P(SessionTest, ScriptsTakeEachExit) {
  for (int32_t exit : {EE_SCRIPT_FULL + 0, 0, 1}) {
    Workload work(6, 41);
    for (ee::Request &request : work.requests) {
      request.script.assign(size_t(request.maxNewTokens), exit);
      request.eos.clear();
    }
    ee::SessionOptions options;
    options.maxSequences = 3;
    work.expectReference(model, fill, options);
    for (const ee::RequestStatus &status : work.results)
      for (int32_t depth : status.exitDepth)
        EXPECT_EQ(depth, exit < 0 ? TOY_LAYERS : 2 * (exit + 1));
  }
}

TEST_P(SessionTest, CancelFreesEverything) {
  Workload work(10, 51);
  ee::SessionOptions options;
  options.policies = Workload::policies();
  options.maxSequences = 4;
  auto session = model.session(options);
  ASSERT_TRUE(session) << session.error();
  std::vector<ee::Ticket> tickets;
  for (const ee::Request &request : work.requests) {
    ee::Request longer = request;
    longer.eos.clear();
    longer.maxNewTokens = 40;
    tickets.push_back(*(*session)->submit(longer));
  }
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE((*session)->step());
  for (ee::Ticket ticket : tickets)
    (*session)->cancel(ticket);
  EXPECT_FALSE(*(*session)->step());
  for (ee::Ticket ticket : tickets) {
    const ee::RequestStatus *status = (*session)->poll(ticket);
    ASSERT_TRUE(status);
    EXPECT_EQ(status->state, ee::RequestState::Cancelled);
    EXPECT_EQ(status->finish, ee::FinishReason::Cancelled);
    (*session)->forget(ticket);
    EXPECT_FALSE((*session)->poll(ticket));
  }
  for (int32_t level = 0; level < 3; ++level)
    EXPECT_EQ((*session)->freePages(level), (*session)->totalPages());
}

TEST_P(SessionTest, RefusesWhatCannotBeServed) {
  ee::SessionOptions options;
  options.maxLength = 32;
  options.kvPages = 6;
  auto session = model.session(options);
  ASSERT_TRUE(session) << session.error();
  ee::Request good;
  good.prompt = {1, 2, 3};
  good.maxNewTokens = 4;
  auto refused = [&](auto change) {
    ee::Request request = good;
    change(request);
    auto ticket = (*session)->submit(request);
    return ticket ? std::string() : ticket.error();
  };
  using R = ee::Request;
  EXPECT_EQ(refused([](R &) {}), "");
  EXPECT_NE(refused([](R &r) { r.prompt.clear(); }), "");
  EXPECT_NE(refused([](R &r) { r.prompt[1] = TOY_VOCAB; }), "");
  EXPECT_NE(refused([](R &r) { r.prompt[1] = -1; }), "");
  EXPECT_NE(refused([](R &r) { r.maxNewTokens = -1; }), "");
  EXPECT_NE(refused([](R &r) { r.maxNewTokens = INT64_MAX; }), "");
  EXPECT_NE(refused([](R &r) { r.maxNewTokens = 31; }), "");
  EXPECT_NE(refused([](R &r) { r.maxNewTokens = 25; }), ""); // 27 of 24
  EXPECT_NE(refused([](R &r) { r.policy = 1; }), "");
  EXPECT_NE(refused([](R &r) { r.policy = -1; }), "");
  EXPECT_NE(refused([](R &r) { r.script = {2}; }), "");
  EXPECT_NE(refused([](R &r) { r.script = {-3}; }), "");
  EXPECT_NE(refused([](R &r) { r.promptScript = {9}; }), "");
  EXPECT_NE(refused([](R &r) { r.sampler.temperature = -1; }), "");
  EXPECT_NE(refused([](R &r) { r.sampler.temperature = NAN; }), "");
  EXPECT_NE(refused([](R &r) { r.sampler.top_p = 0; }), "");
  EXPECT_NE(refused([](R &r) { r.sampler.min_p = 1; }), "");
  EXPECT_NE(refused([](R &r) { r.sampler.top_k = -1; }), "");
  ASSERT_TRUE((*session)->drain());
}

TEST_P(SessionTest, RefusesAbsurdOptions) {
  auto refused = [&](auto change) {
    ee::SessionOptions options;
    change(options);
    return !model.session(options);
  };
  using O = ee::SessionOptions;
  EXPECT_FALSE(refused([](O &) {}));
  EXPECT_TRUE(refused([](O &o) { o.threads = 0; }));
  EXPECT_TRUE(refused([](O &o) { o.threads = 1 << 20; }));
  EXPECT_TRUE(refused([](O &o) { o.maxSequences = 0; }));
  EXPECT_TRUE(refused([](O &o) { o.maxRows = 0; }));
  EXPECT_TRUE(refused([](O &o) { o.maxRows = 8; }));
  EXPECT_TRUE(refused([](O &o) { o.chunk = 0; }));
  EXPECT_TRUE(refused([](O &o) { o.maxLength = 257; }));
  EXPECT_TRUE(refused([](O &o) { o.maxLength = -1; }));
  EXPECT_TRUE(refused([](O &o) { o.kvPages = -1; }));
  EXPECT_TRUE(refused([](O &o) { o.debtCap = -1; }));
  EXPECT_TRUE(refused([](O &o) { o.sampleRows = 0; }));
}

INSTANTIATE_TEST_SUITE_P(
    Fills, SessionTest,
    testing::Combine(testing::Values("exact", "propagate", "exact-early-head",
                                     "propagate-early-head"),
                     testing::ValuesIn(testDevices)),
    [](const auto &info) {
      std::string name = std::get<0>(info.param);
      std::replace(name.begin(), name.end(), '-', '_');
      return name + "_" + std::get<1>(info.param).name;
    });

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs mixed requests and compares; see session_workload.h.
#include "session_workload.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <random>

namespace toy {

Workload::Workload(int count, uint32_t seed) {
  std::mt19937 random(seed);
  auto below = [&](uint32_t n) { return int32_t(random() % n); };
  for (int i = 0; i < count; ++i) {
    ee::Request r;
    for (int n = 1 + below(24); n > 0; --n)
      r.prompt.push_back(below(TOY_VOCAB));
    r.maxNewTokens = 1 + below(30);
    r.policy = below(2);
    r.logitHash = true;
    if (below(2)) {
      r.sampler.temperature = 1.5f;
      r.sampler.seed = uint64_t(random()) << 32 | random();
    }
    if (below(3))
      r.eos = {3, 5};
    if (below(2))
      for (int n = below(30); n > 0; --n)
        r.script.push_back(below(4) - 2);
    requests.push_back(std::move(r));
  }
  arrivals.resize(requests.size());
  std::iota(arrivals.begin(), arrivals.end(), 0);
}

void Workload::shuffleArrivals(uint32_t seed) {
  std::mt19937 random(seed);
  std::shuffle(arrivals.begin(), arrivals.end(), random);
}

void Workload::promptExits() {
  std::mt19937 random(99);
  for (size_t i = 0; i < requests.size(); ++i) {
    ee::Request &r = requests[i];
    if (i % 3 == 0)
      r.promptExits = true;
    if (i % 3 == 1)
      for (size_t p = 0; p < r.prompt.size(); ++p)
        r.promptEnabled.push_back(random() % 2);
    if (i % 3 == 2)
      for (size_t p = 0; p < r.prompt.size(); ++p)
        r.promptScript.push_back(int32_t(random() % 4) - 2);
  }
}

std::vector<ee_policy> Workload::policies() {
  ee_policy eager = {}, choosy = {};
  eager.version = choosy.version = EE_POLICY_VERSION;
  eager.criterion_mask = choosy.criterion_mask = 3;
  eager.max_depth = choosy.max_depth = INT32_MAX;
  eager.threshold[0] = 0;
  eager.threshold[1] = -2;
  choosy.threshold[0] = 6;
  choosy.threshold[1] = 3;
  choosy.min_depth = 3;
  return {eager, choosy};
}

namespace {

/// Collects what only an observer sees.
class Watcher : public ee::SessionObserver {
public:
  void onLogits(ee::Ticket ticket, int64_t position,
                std::span<const float> logits) override {
    hashes[{ticket, position}] = ee::hashLogits(logits);
  }
  void onEmission(const ee::Emission &e) override {
    depths[{e.ticket, e.position}] = e.depth;
    int32_t reached = e.exit < 0 ? 1 : e.exit;
    for (int32_t exit = 0; exit < 2; ++exit)
      EXPECT_EQ(std::isnan(e.criteria[size_t(exit)]), exit > reached);
  }
  void onLaunch(int32_t, int32_t,
                std::span<const ee::LaunchRow> rows) override {
    EXPECT_FALSE(rows.empty());
  }
  std::map<std::pair<ee::Ticket, int64_t>, uint64_t> hashes;
  std::map<std::pair<ee::Ticket, int64_t>, int32_t> depths;
};

} // namespace

ee::SessionCounters Workload::expectReference(const Model &model,
                                              const std::string &fill,
                                              ee::SessionOptions options) {
  Watcher watcher;
  options.observer = &watcher;
  options.policies = policies();
  if (!options.maxLength)
    options.maxLength = 64;
  results.assign(requests.size(), {});
  auto created = model.session(options);
  if (!created) {
    ADD_FAILURE() << created.error();
    return {};
  }
  ee::Session &session = **created;
  std::vector<ee::Ticket> tickets(requests.size(), 0);
  size_t arrived = 0;
  std::mt19937 random(preemptSeed);
  bool more = true;
  while (more || arrived < arrivals.size()) {
    size_t fresh = arriveWhileRunning ? 1 : arrivals.size();
    for (; fresh > 0 && arrived < arrivals.size(); --fresh) {
      size_t index = arrivals[arrived++];
      auto ticket = session.submit(requests[index]);
      if (!ticket) {
        ADD_FAILURE() << ticket.error();
        return {};
      }
      tickets[index] = *ticket;
    }
    auto stepped = session.step();
    if (!stepped) {
      ADD_FAILURE() << stepped.error();
      return {};
    }
    more = *stepped;
    if (preemptSeed && random() % 3 == 0)
      session.preempt(tickets[random() % tickets.size()]);
  }
  int64_t depthSum = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    Expectation want = reference(
        requests[i], options.policies[size_t(requests[i].policy)], fill);
    const ee::RequestStatus &got = *session.poll(tickets[i]);
    results[i] = got;
    EXPECT_EQ(got.state, ee::RequestState::Finished);
    EXPECT_EQ(got.ids, want.ids) << "request " << i;
    EXPECT_EQ(got.exitDepth, want.depth) << "request " << i;
    EXPECT_EQ(got.exitIndex, want.exits) << "request " << i;
    EXPECT_EQ(got.logitHash, want.hashes) << "request " << i;
    if (requests[i].emitAllRows)
      for (size_t p = 0; p < requests[i].prompt.size(); ++p) {
        std::pair key(tickets[i], int64_t(p));
        EXPECT_EQ(watcher.hashes[key], want.promptHashes[p]) << i << ":" << p;
        EXPECT_EQ(watcher.depths[key], want.promptDepth[p]) << i << ":" << p;
      }
    for (size_t p = 0; p + 1 < requests[i].prompt.size(); ++p)
      depthSum += want.promptDepth[p] / 2;
    for (int32_t depth : want.depth)
      depthSum += depth / 2;
    if (want.ids.empty())
      depthSum += want.promptDepth.back() / 2;
  }
  for (int32_t level = 0; level < 3; ++level)
    EXPECT_EQ(session.freePages(level), session.totalPages());
  const ee::SessionCounters &counters = session.counters();
  // Work conservation: nothing runs beyond its depth.
  if (counters.preemptions == 0) {
    int64_t executed = 0;
    for (int stage = 0; stage < 3; ++stage)
      executed += counters.stages[size_t(stage)].rows;
    EXPECT_EQ(executed, depthSum);
  }
  EXPECT_EQ(counters.stages[0].catchUpRows, 0);
  return counters;
}

} // namespace toy

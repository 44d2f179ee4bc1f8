// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is launched when: full-depth traffic is ordinary continuous batching,
// debts are paid once and as late as allowed, waits are bounded, and a step
// takes no memory.
#include "session_workload.h"

#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

static std::atomic<bool> counting{false};
static std::atomic<int64_t> allocations{0};

static void *counted(size_t bytes) {
  if (counting.load(std::memory_order_relaxed))
    ++allocations;
  if (void *p = std::malloc(bytes ? bytes : 1))
    return p;
  throw std::bad_alloc();
}
void *operator new(size_t bytes) { return counted(bytes); }
void *operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void *p) noexcept { std::free(p); }
void operator delete[](void *p) noexcept { std::free(p); }
void operator delete(void *p, size_t) noexcept { std::free(p); }
void operator delete[](void *p, size_t) noexcept { std::free(p); }

namespace {
using namespace toy;

class ScheduleTest : public testing::TestWithParam<TestDevice> {};

struct Recorded {
  int32_t stage;
  std::vector<ee::LaunchRow> rows;
  bool operator==(const Recorded &) const = default;
};

class Recorder : public ee::SessionObserver {
public:
  void onLaunch(int32_t, int32_t stage,
                std::span<const ee::LaunchRow> rows) override {
    launches.push_back({stage, {rows.begin(), rows.end()}});
  }
  std::vector<Recorded> launches;
};

/// Continuous batching of full-depth requests, written down from its
/// definition: slots filled in order of arrival, one token for each sequence
/// that generates, then chunks of prompts, oldest first.
std::vector<Recorded> ordinaryBatching(const std::vector<ee::Request> &requests,
                                       const std::vector<size_t> &lengths,
                                       const ee::SessionOptions &o) {
  struct Running {
    size_t request;
    int64_t fed = 0, made = 0;
  };
  std::vector<std::optional<Running>> slots(size_t(o.maxSequences));
  std::vector<Recorded> result;
  size_t next = 0;
  while (true) {
    for (auto &slot : slots)
      if (!slot && next < requests.size())
        slot = Running{next++};
    std::vector<size_t> age;
    for (size_t i = 0; i < slots.size(); ++i)
      if (slots[i])
        age.push_back(i);
    if (age.empty())
      return result;
    std::sort(age.begin(), age.end(), [&](size_t a, size_t b) {
      return slots[a]->request < slots[b]->request;
    });
    std::vector<int64_t> take(slots.size(), 0);
    int64_t room = o.maxRows;
    auto left = [&](size_t i) {
      return int64_t(requests[slots[i]->request].prompt.size()) +
             slots[i]->made - slots[i]->fed;
    };
    for (size_t i : age)
      if (left(i) == 1)
        take[i] = 1, --room;
    for (size_t i : age)
      if (!take[i])
        room -= take[i] = std::min({left(i), o.chunk, room});
    std::vector<ee::LaunchRow> rows, last;
    for (size_t i = 0; i < slots.size(); ++i)
      for (int64_t n = 0; slots[i] && n < take[i]; ++n) {
        ee::LaunchRow row{slots[i]->request + 1, slots[i]->fed + n, false};
        rows.push_back(row);
        if (n + 1 == left(i))
          last.push_back(row);
      }
    for (int32_t stage : {0, 1, 2})
      result.push_back({stage, rows});
    for (size_t begin = 0; begin < last.size(); begin += size_t(o.sampleRows)) {
      size_t end = std::min(last.size(), begin + size_t(o.sampleRows));
      result.push_back(
          {3, {last.begin() + long(begin), last.begin() + long(end)}});
    }
    for (size_t i = 0; i < slots.size(); ++i) {
      if (!slots[i])
        continue;
      bool emitted = take[i] == left(i);
      slots[i]->fed += take[i];
      if (emitted && ++slots[i]->made == int64_t(lengths[slots[i]->request]))
        slots[i].reset();
    }
  }
}

TEST_P(ScheduleTest, FullDepthIsOrdinaryContinuousBatching) {
  for (const char *fill : {"exact", "propagate"}) {
    Model model(fill, GetParam());
    Workload work(20, 3);
    for (ee::Request &request : work.requests)
      request.script.clear();
    Recorder recorder;
    ee::SessionOptions options;
    options.maxSequences = 6;
    options.maxRows = 19;
    options.chunk = 5;
    options.sampleRows = 4;
    options.observer = &recorder;
    options.maxLength = 64;
    options.policies = Workload::policies();
    for (ee_policy &policy : options.policies)
      policy.force_full = 1;
    auto session = model.session(options);
    ASSERT_TRUE(session) << session.error();
    for (const ee::Request &request : work.requests)
      ASSERT_TRUE((*session)->submit(request));
    ASSERT_TRUE((*session)->drain());
    std::vector<size_t> lengths;
    for (size_t i = 0; i < work.requests.size(); ++i)
      lengths.push_back((*session)->poll(i + 1)->ids.size());
    EXPECT_EQ(recorder.launches,
              ordinaryBatching(work.requests, lengths, options));
  }
}

/// One request with the given exits; -2 is full depth.
std::vector<Recorded> runScript(Model &model, std::vector<int32_t> script,
                                ee::SessionOptions options,
                                ee::SessionCounters *counters = nullptr) {
  Recorder recorder;
  options.observer = &recorder;
  auto session = model.session(options);
  EXPECT_TRUE(session);
  ee::Request request;
  request.prompt = {7};
  request.maxNewTokens = int64_t(script.size());
  request.script = script;
  EXPECT_TRUE((*session)->submit(request));
  EXPECT_TRUE((*session)->drain());
  if (counters)
    *counters = (*session)->counters();
  return recorder.launches;
}

TEST_P(ScheduleTest, DebtsRideWithTheNextRow) {
  Model model("exact", GetParam());
  // Position 0 leaves early, 1 leaves late, 2 runs in full.
  auto launches = runScript(model, {0, 1, -2}, {});
  std::vector<Recorded> want = {
      {0, {{1, 0, false}}},
      {6, {{1, 0, false}}}, // the early exit passes through `adapt`
      {3, {{1, 0, false}}},
      {0, {{1, 1, false}}},
      {1, {{1, 0, true}, {1, 1, false}}},
      {3, {{1, 1, false}}},
      {0, {{1, 2, false}}},
      {1, {{1, 2, false}}},
      {2, {{1, 0, true}, {1, 1, true}, {1, 2, false}}},
      {3, {{1, 2, false}}}};
  EXPECT_EQ(launches, want);
}

TEST_P(ScheduleTest, PropagationFillsAtOnce) {
  Model model("propagate", GetParam());
  auto launches = runScript(model, {0, 1}, {});
  std::vector<Recorded> want = {
      {0, {{1, 0, false}}}, {6, {{1, 0, false}}}, {3, {{1, 0, false}}},
      {4, {{1, 0, true}}},  {5, {{1, 0, true}}},  {0, {{1, 1, false}}},
      {1, {{1, 1, false}}}, {3, {{1, 1, false}}}, {5, {{1, 1, true}}}};
  EXPECT_EQ(launches, want);
}

TEST_P(ScheduleTest, DebtsArePaidAtTheCap) {
  Model model("exact", GetParam());
  ee::SessionOptions options;
  options.debtCap = 3;
  ee::SessionCounters counters;
  // Eight rows leave early: debts 0..2 are paid in the wave of row 3, 3..5 in
  // that of row 6; 6 and 7 are dropped at the end.
  auto launches =
      runScript(model, std::vector<int32_t>(8, 0), options, &counters);
  EXPECT_EQ(counters.stages[1].launches, 2);
  EXPECT_EQ(counters.stages[1].catchUpRows, 6);
  EXPECT_EQ(counters.stages[2].catchUpRows, 6);
  EXPECT_EQ(counters.stages[1].rows, 0);
  EXPECT_EQ(counters.droppedDebts, 2);
  options.debtCap = 0;
  runScript(model, std::vector<int32_t>(8, 0), options, &counters);
  EXPECT_EQ(counters.stages[1].catchUpRows, 8);
  EXPECT_EQ(counters.droppedDebts, 0);
}

TEST_P(ScheduleTest, EveryDebtIsPaidOnceOrDropped) {
  Model model("exact", GetParam());
  for (uint32_t seed = 0; seed < 8; ++seed) {
    Workload work(16, seed);
    ee::SessionOptions options;
    options.maxSequences = 5;
    options.completeKv = true;
    ee::SessionCounters c = work.expectReference(model, "exact", options);
    EXPECT_EQ(c.droppedDebts, 0);
    // With every debt paid each level stores each position once.
    EXPECT_EQ(c.stages[1].rows + c.stages[1].catchUpRows, c.stages[0].rows);
    EXPECT_EQ(c.stages[2].rows + c.stages[2].catchUpRows, c.stages[0].rows);
  }
}

TEST_P(ScheduleTest, WaitsAreBounded) {
  Model model("exact", GetParam());
  Workload work(40, 9);
  ee::SessionOptions options;
  options.maxSequences = 8;
  options.maxRows = 8;
  options.chunk = 2;
  ee::SessionCounters c = work.expectReference(model, "exact", options);
  // Prompts have 24 tokens at most and the oldest goes first, so 7 others can
  // hold a prompt up for at most 7 * 24 waves; generating rows never wait.
  EXPECT_LE(c.longestWait, 7 * 24);
}

// The devices for debugging may take some.
TEST(StepTest, TakesNoMemory) {
  for (const char *fill : {"exact", "propagate"}) {
    Model model(fill);
    Workload work(24, 13);
    ee::SessionOptions options;
    options.maxSequences = 6;
    options.chunk = 5;
    options.kvPages = 20;
    options.maxLength = 64;
    options.policies = Workload::policies();
    auto session = model.session(options);
    ASSERT_TRUE(session) << session.error();
    for (const ee::Request &request : work.requests)
      ASSERT_TRUE((*session)->submit(request));
    bool more = true;
    allocations = 0;
    int64_t steps = 0;
    while (more) {
      counting = true;
      auto stepped = (*session)->step();
      counting = false;
      ASSERT_TRUE(stepped) << stepped.error();
      more = *stepped;
      ++steps;
    }
    EXPECT_GT(steps, 30);
    EXPECT_GT((*session)->counters().preemptions, 0);
    EXPECT_EQ(allocations, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ScheduleTest, testing::ValuesIn(testDevices),
                         testing::PrintToStringParamName());

} // namespace

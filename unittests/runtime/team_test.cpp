// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The thread team runs every item once, whatever the timing.
#include "backends/cpu/team.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>

namespace {

struct Count {
  std::vector<std::atomic<int32_t>> *hits;
  std::atomic<int64_t> calls{0};
  int64_t workers = 0;
  int64_t smallest = INT64_MAX;
};

void hit(const ee_stage_args *, const void *context, int64_t begin, int64_t end,
         int64_t worker) {
  auto *count = static_cast<Count *>(const_cast<void *>(context));
  ++count->calls;
  EXPECT_LT(worker, count->workers);
  EXPECT_LT(begin, end);
  for (int64_t i = begin; i < end; ++i)
    ++(*count->hits)[size_t(i)];
}

void runOnce(ee::Team &team, int64_t items, int64_t grain) {
  std::vector<std::atomic<int32_t>> hits(size_t(items) + 1);
  Count count{&hits};
  count.workers = team.workers();
  team.handle()->run(team.handle(), hit, nullptr, &count, items, grain);
  for (int64_t i = 0; i < items; ++i)
    ASSERT_EQ(hits[size_t(i)], 1) << i << " of " << items;
  EXPECT_EQ(hits[size_t(items)], 0);
  EXPECT_LE(count.calls, std::max<int64_t>(1, items / grain));
}

TEST(TeamTest, EveryItemOnce) {
  for (int64_t workers : {1, 2, 3, 5})
    for (auto spin : {0, 30}) {
      ee::Team team(workers, std::chrono::microseconds(spin));
      EXPECT_EQ(team.handle()->workers, workers);
      for (int64_t items : {1, 2, 3, 7, 64, 1000})
        for (int64_t grain : {1, 3, 64})
          runOnce(team, items, grain);
    }
}

TEST(TeamTest, ManySmallJobs) {
  ee::Team team(3, std::chrono::microseconds(0));
  for (int i = 0; i < 3000; ++i)
    runOnce(team, 1 + i % 17, 1);
}

/// Returns when every other thread of the process sleeps in the kernel.
void waitUntilOthersSleep() {
  for (bool awake = true; awake;) {
    awake = false;
    for (auto &task : std::filesystem::directory_iterator("/proc/self/task")) {
      if (task.path().filename() == std::to_string(gettid()))
        continue;
      std::string line;
      std::getline(std::ifstream(task.path() / "stat"), line);
      // PID (name) STATE ...
      size_t name = line.rfind(')');
      awake |= name == std::string::npos || line.substr(name + 2, 1) != "S";
    }
    std::this_thread::yield();
  }
}

TEST(TeamTest, SleepsAndWakes) {
  ee::Team team(2);
  for (int i = 0; i < 20; ++i) {
    waitUntilOthersSleep();
    runOnce(team, 32, 1);
  }
}

TEST(TeamTest, NothingToDo) {
  ee::Team team(2);
  team.handle()->run(team.handle(), nullptr, nullptr, nullptr, 0, 1);
}

TEST(TeamTest, OneWorkerRunsInline) {
  ee::Team team(1);
  std::thread::id id;
  auto kernel = [](const ee_stage_args *, const void *context, int64_t begin,
                   int64_t end, int64_t) {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 100);
    *static_cast<std::thread::id *>(const_cast<void *>(context)) =
        std::this_thread::get_id();
  };
  team.handle()->run(team.handle(), kernel, nullptr, &id, 100, 1);
  EXPECT_EQ(id, std::this_thread::get_id());
}

} // namespace

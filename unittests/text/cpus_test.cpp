// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPUs that a process may use: quotas as the kernel writes them.
#include "ee/cpus.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sched.h>

using namespace ee;
namespace fs = std::filesystem;

namespace {

TEST(CpusTest, CpuMaxOfVersionTwo) {
  EXPECT_EQ(quotaOfCpuMax("200000 100000\n"), 2.0);
  EXPECT_EQ(quotaOfCpuMax("50000 100000\n"), 0.5);
  EXPECT_EQ(quotaOfCpuMax("9223372036854775807 1"), 9223372036854775807.0);
  for (const char *none :
       {"max 100000\n", "max", "", "\n", "100000", "100000 \n", "x 100000",
        "100000 x", "-1 100000", "0 100000", "100000 0", "100000 -5",
        "99999999999999999999 100000"})
    EXPECT_EQ(quotaOfCpuMax(none), std::nullopt) << none;
}

TEST(CpusTest, CfsQuotaOfVersionOne) {
  EXPECT_EQ(quotaOfCfs("150000\n", "100000\n"), 1.5);
  for (auto [quota, period] :
       {std::pair("-1\n", "100000\n"), std::pair("", ""),
        std::pair("100000", "0"), std::pair("100000", ""),
        std::pair("", "100000")})
    EXPECT_EQ(quotaOfCfs(quota, period), std::nullopt) << quota << period;
}

TEST(CpusTest, ThreadsWithinAQuota) {
  EXPECT_EQ(threadsWithin(8, std::nullopt), 8);
  EXPECT_EQ(threadsWithin(8, 16.0), 8);
  EXPECT_EQ(threadsWithin(8, 1e30), 8);
  EXPECT_EQ(threadsWithin(8, 3.9), 3);
  EXPECT_EQ(threadsWithin(8, 0.2), 1);
  EXPECT_EQ(threadsWithin(0, std::nullopt), 1);
}

class CgroupTest : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "ee-cpus-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern.data()));
    root = pattern;
  }
  void TearDown() override { fs::remove_all(root); }
  void put(const std::string &path, std::string_view text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  std::optional<double> limit() { return cgroupCpus(root.string()); }

  fs::path root;
};

TEST_F(CgroupTest, NoGroupsAreNoLimit) {
  EXPECT_EQ(limit(), std::nullopt);
  put("proc/self/cgroup", "nonsense\n::\n0\n");
  EXPECT_EQ(limit(), std::nullopt);
}

TEST_F(CgroupTest, TheNarrowestGroupAboveCounts) {
  put("proc/self/cgroup", "0::/user.slice/app\n");
  put("sys/fs/cgroup/user.slice/app/cpu.max", "400000 100000\n");
  EXPECT_EQ(limit(), 4.0);
  put("sys/fs/cgroup/user.slice/cpu.max", "300000 100000\n");
  EXPECT_EQ(limit(), 3.0);
  put("sys/fs/cgroup/user.slice/app/cpu.max", "max 100000\n");
  EXPECT_EQ(limit(), 3.0);
  // The root of a machine has no cpu.max, that of a container does.
  put("sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(limit(), 1.5);
}

TEST_F(CgroupTest, AContainerSeesItsGroupAsTheRoot) {
  put("proc/self/cgroup", "0::/\n");
  put("sys/fs/cgroup/cpu.max", "100000 50000\n");
  EXPECT_EQ(limit(), 2.0);
  // Version 1 names the path outside, which is not mounted.
  put("proc/self/cgroup",
      "12:cpuset:/docker/0a\n4:cpuacct,cpu:/docker/0a\n0::/\n");
  put("sys/fs/cgroup/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit(), 2.5);
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(limit(), std::nullopt);
}

TEST_F(CgroupTest, ControllersOfVersionOneByTheirJointName) {
  put("proc/self/cgroup", "4:cpu,cpuacct:/a\n");
  put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n");
  put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit(), 1.0);
  // Other controllers whose name only begins so do not count.
  put("proc/self/cgroup", "4:cpuacct,cpuset:/a\n");
  EXPECT_EQ(limit(), std::nullopt);
}

TEST(CpusTest, AffinityCounts) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  int64_t all = usableCpus();
  EXPECT_GE(all, 1);
  EXPECT_LE(all, CPU_COUNT(&before));
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before))
      CPU_SET(cpu, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usableCpus(), 1);
  sched_setaffinity(0, sizeof before, &before);
}

} // namespace

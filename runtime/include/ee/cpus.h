// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How many CPUs this process may keep busy.
#ifndef EE_CPUS_H
#define EE_CPUS_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ee {

/// Threads that can run at the same time: the CPUs of the affinity mask, or
/// fewer where a control group grants less CPU time. At least 1.
int64_t usableCpus();

/// CPUs' worth of time that control groups grant the process, or nothing where
/// they set no limit. A group is as limited as the narrowest one above it.
/// Version 2 is read from /sys/fs/cgroup, version 1 from its `cpu` controller
/// there. `root` stands before these paths and /proc/self/cgroup, for tests.
std::optional<double> cgroupCpus(const std::string &root = "");

/// cpu.max of version 2: "QUOTA PERIOD", or "max PERIOD" for no limit.
std::optional<double> quotaOfCpuMax(std::string_view text);
/// cpu.cfs_quota_us and cpu.cfs_period_us of version 1; a quota of -1 is none.
std::optional<double> quotaOfCfs(std::string_view quota,
                                 std::string_view period);

/// Threads for `cpus` CPUs and this much CPU time, rounded down: threads of a
/// team wait for each other, so one that is throttled stalls all.
int64_t threadsWithin(int64_t cpus, std::optional<double> quota);

} // namespace ee

#endif // EE_CPUS_H

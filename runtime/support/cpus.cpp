// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPUs that a process may use: affinity and control groups; see ee/cpus.h.
#include "ee/cpus.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sched.h>
#include <thread>
#include <vector>

using namespace ee;

namespace {

/// A file of the kernel, which gives 0 as their sizes, so that the guarded
/// opener would read nothing. Empty where there is none.
std::string readKernelFile(const std::string &path) {
  std::string text, line;
  for (std::ifstream file(path); std::getline(file, line);)
    text += line + "\n";
  return text;
}

/// The number that `text` starts with, which moves on behind it.
std::optional<int64_t> takeNumber(std::string_view &text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  int64_t value = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc())
    return std::nullopt;
  text.remove_prefix(size_t(end - text.data()));
  return value;
}

std::optional<double> ratio(std::optional<int64_t> quota,
                            std::optional<int64_t> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0)
    return std::nullopt;
  return double(*quota) / double(*period);
}

/// The smaller one; none is no limit.
std::optional<double> narrower(std::optional<double> a,
                               std::optional<double> b) {
  return a && b ? std::min(*a, *b) : a ? a : b;
}

/// The limit of the group `path` below `mount` and of all above it. In a
/// container the path may be that outside; what is mounted is then its group.
template <typename Quota>
std::optional<double> narrowest(const std::string &mount, std::string path,
                                Quota quota) {
  std::optional<double> limit;
  for (;;) {
    limit = narrower(limit, quota(mount + path + "/"));
    size_t slash = path.rfind('/');
    if (slash == std::string::npos)
      return limit;
    path.resize(slash);
  }
}

std::optional<double> quotaOfV2(const std::string &folder) {
  return quotaOfCpuMax(readKernelFile(folder + "cpu.max"));
}

std::optional<double> quotaOfV1(const std::string &folder) {
  return quotaOfCfs(readKernelFile(folder + "cpu.cfs_quota_us"),
                    readKernelFile(folder + "cpu.cfs_period_us"));
}

bool lists(std::string_view controllers, std::string_view name) {
  while (!controllers.empty()) {
    size_t comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == name)
      return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

} // namespace

std::optional<double> ee::quotaOfCpuMax(std::string_view text) {
  auto quota = takeNumber(text);
  return ratio(quota, takeNumber(text));
}

std::optional<double> ee::quotaOfCfs(std::string_view quota,
                                     std::string_view period) {
  return ratio(takeNumber(quota), takeNumber(period));
}

std::optional<double> ee::cgroupCpus(const std::string &root) {
  std::optional<double> limit;
  std::string groups = readKernelFile(root + "/proc/self/cgroup");
  const std::string mounts = root + "/sys/fs/cgroup";
  // Lines are ID:CONTROLLERS:PATH; version 2 has no controllers there.
  for (size_t begin = 0; begin < groups.size();) {
    size_t end = groups.find('\n', begin);
    std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos)
      continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path == "/")
      path.clear();
    if (controllers.empty())
      limit = narrower(limit, narrowest(mounts, path, quotaOfV2));
    else if (lists(controllers, "cpu"))
      for (const std::string &name : {std::string("cpu"), controllers})
        limit =
            narrower(limit, narrowest(mounts + "/" + name, path, quotaOfV1));
  }
  return limit;
}

int64_t ee::threadsWithin(int64_t cpus, std::optional<double> quota) {
  // A quota may exceed any machine; beyond this it is no limit.
  if (quota && *quota < double(cpus))
    cpus = int64_t(*quota);
  return std::max<int64_t>(1, cpus);
}

int64_t ee::usableCpus() {
  int64_t cpus = std::thread::hardware_concurrency();
  // The mask must have room for every CPU the kernel knows of.
  for (size_t bits = 1024; bits <= size_t(1) << 20; bits *= 4) {
    std::vector<cpu_set_t> mask(bits / CPU_SETSIZE);
    size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) != 0)
      continue;
    cpus = CPU_COUNT_S(bytes, mask.data());
    break;
  }
  return threadsWithin(cpus, cgroupCpus());
}

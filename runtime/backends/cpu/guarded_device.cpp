// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The guarded CPU device, see ee/device.h: the CPU's kernels on memory that
// nobody else can reach. A host access to device memory, a host access between
// submit and wait, and a kernel that reaches memory of the host all end in a
// segmentation fault; an argument that is no device address is an error.
#include "ee/device.h"
#include "memory.h"
#include "team.h"

#include <algorithm>
#include <deque>
#include <sys/mman.h>

namespace ee {
namespace {

struct Region {
  uint64_t begin = 0, bytes = 0;
  bool contains(uint64_t place, uint64_t size) const {
    return place >= begin && size <= bytes && place - begin <= bytes - size;
  }
};

class Regions {
public:
  void add(uint64_t begin, uint64_t bytes) { list.push_back({begin, bytes}); }
  void remove(uint64_t begin) {
    std::erase_if(list, [&](const Region &r) { return r.begin == begin; });
  }
  bool contain(uint64_t place, uint64_t bytes) const {
    return std::any_of(list.begin(), list.end(), [&](const Region &r) {
      return r.contains(place, bytes);
    });
  }
  Expected<void> protect(int access) const {
    for (const Region &r : list)
      if (mprotect(deviceField<void>(r.begin), r.bytes, access) != 0)
        return Failure{"cannot change the protection of guarded memory"};
    return {};
  }

private:
  std::vector<Region> list;
};

class GuardedCpuDevice final : public Device {
public:
  GuardedCpuDevice(const Artifact &artifact, int64_t threads)
      : artifact(artifact), team(threads) {}

  const char *name() const override { return "guarded"; }
  int64_t workers() const override { return team.workers(); }

  Expected<Buffer> allocate(uint64_t bytes) override {
    if (bytes == 0)
      return Buffer();
    auto pages = mapPages(bytes);
    if (!pages)
      return pages.takeFailure();
    auto address = DeviceAddress(uintptr_t(*pages));
    memory.add(address, bytes);
    Buffer buffer(*this, address, bytes);
    if (auto ok = memory.protect(PROT_NONE); !ok)
      return ok.takeFailure();
    return buffer;
  }

  Expected<HostBuffer> allocateHost(uint64_t bytes) override {
    if (bytes == 0)
      return HostBuffer();
    auto pages = mapPages(bytes);
    if (!pages)
      return pages.takeFailure();
    host.add(uintptr_t(*pages), bytes);
    return HostBuffer(*this, *pages, bytes);
  }

  Expected<uint64_t> submit(const Submission &submission) override {
    if (auto ok = check(submission); !ok)
      return ok.takeFailure();
    pending.push_back(submission);
    if (auto ok = host.protect(PROT_NONE); !ok)
      return ok.takeFailure();
    return ++tickets;
  }

  Expected<void> wait(uint64_t ticket) override {
    for (; !pending.empty() && done < ticket; ++done) {
      if (auto ok = run(pending.front()); !ok)
        return ok;
      pending.pop_front();
    }
    return host.protect(pending.empty() ? PROT_READ | PROT_WRITE : PROT_NONE);
  }

protected:
  void release(DeviceAddress address, uint64_t bytes) override {
    memory.remove(address);
    unmapPages(deviceField<uint8_t>(address), bytes);
  }
  void releaseHost(uint8_t *data, uint64_t bytes) override {
    host.remove(uintptr_t(data));
    unmapPages(data, bytes);
  }

private:
  Expected<void> check(const Submission &submission) const;
  Expected<void> checkLaunch(const Launch &launch) const;
  Expected<void> checkPages(const Launch &launch) const;
  Expected<void> run(const Submission &submission);

  const Artifact &artifact;
  Team team;
  Regions memory, host;
  std::deque<Submission> pending;
  uint64_t tickets = 0, done = 0;
};

Expected<void> outside(const char *what, bool device) {
  return Failure{std::string(what) + " lies outside of the memory of the " +
                 (device ? "device" : "host that the device may copy")};
}

Expected<void> GuardedCpuDevice::check(const Submission &s) const {
  auto at = [](const uint8_t *p) { return uint64_t(uintptr_t(p)); };
  for (const Upload &upload : s.uploads) {
    if (!memory.contain(upload.to, upload.bytes))
      return outside("the target of an upload", true);
    if (!host.contain(at(upload.from), upload.bytes))
      return outside("the source of an upload", false);
  }
  for (const Fill &fill : s.fills)
    if (!memory.contain(fill.to, fill.bytes))
      return outside("a fill", true);
  for (const DeviceCopy &copy : s.copies)
    if (!memory.contain(copy.to, copy.bytes) ||
        !memory.contain(copy.from, copy.bytes))
      return outside("a copy", true);
  for (const Launch &launch : s.launches)
    if (auto ok = checkLaunch(launch); !ok)
      return ok;
  for (const Download &download : s.downloads) {
    if (!memory.contain(download.from, download.bytes))
      return outside("the source of a download", true);
    if (!host.contain(at(download.to), download.bytes))
      return outside("the target of a download", false);
  }
  return {};
}

/// Kernels of the CPU could follow a pointer of the host unnoticed.
Expected<void> GuardedCpuDevice::checkLaunch(const Launch &launch) const {
  const ee_stage_args &a = launch.args;
  const ee_rows &c = a.columns;
  const std::pair<const char *, const void *> pointers[] = {
      {"rows", a.rows},
      {"n_active", a.n_active},
      {"row_store", a.row_store},
      {"token", c.token},
      {"sequence", c.sequence},
      {"position", c.position},
      {"depth", c.depth},
      {"policy", c.policy},
      {"script", c.script},
      {"flags", c.flags},
      {"decision", c.decision},
      {"criteria", c.criteria},
      {"policies", a.policies},
      {"samplers", a.samplers},
      {"arena", a.arena},
      {"worker_scratch", a.worker_scratch},
      {"kv", a.kv}};
  for (auto [field, pointer] : pointers)
    if (pointer && !memory.contain(uintptr_t(pointer), 1))
      return outside(
          (std::string(field) + " of a launch of stage " +
           inQuotes(artifact.manifest().stages[size_t(launch.stage)].name))
              .c_str(),
          true);
  return {};
}

/// The same for the pointers that lie in device memory themselves.
Expected<void> GuardedCpuDevice::checkPages(const Launch &launch) const {
  for (size_t i = 0; i < artifact.manifest().levels.size(); ++i) {
    const ee_kv_level &level = launch.args.kv[i];
    if (!memory.contain(uintptr_t(level.pages), 1))
      return outside("the pages of a KV level", true);
    if (!memory.contain(uintptr_t(level.table), 4))
      return outside("the table of a KV level", true);
  }
  return {};
}

Expected<void> GuardedCpuDevice::run(const Submission &submission) {
  constexpr int all = PROT_READ | PROT_WRITE;
  for (const Regions *regions : {&memory, &host})
    if (auto ok = regions->protect(all); !ok)
      return ok;
  runUploads(submission);
  runFillsAndCopies(submission);
  for (const Launch &launch : submission.launches)
    if (auto ok = checkPages(launch); !ok)
      return ok;
  if (auto ok = host.protect(PROT_NONE); !ok)
    return ok;
  runLaunches(submission, artifact, team.handle());
  if (auto ok = host.protect(all); !ok)
    return ok;
  runDownloads(submission);
  return memory.protect(PROT_NONE);
}

} // namespace

std::unique_ptr<Device> createGuardedCpuDevice(const Artifact &artifact,
                                               int64_t threads) {
  return std::make_unique<GuardedCpuDevice>(artifact, threads);
}

} // namespace ee

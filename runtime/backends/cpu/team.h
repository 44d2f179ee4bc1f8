// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The persistent thread team behind `ee_team`. Workers spin for a moment after
// each job, because the next kernel usually follows within microseconds, and
// then sleep in the kernel. Grains are claimed one by one, so a worker that
// wakes late finds its share done by the others.
#ifndef EE_BACKENDS_CPU_TEAM_H
#define EE_BACKENDS_CPU_TEAM_H

#include "ee/abi.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace ee {

class Team {
public:
  /// `workers` counts the calling thread too; 1 starts no thread and runs
  /// kernels inline. `spin` is how long waiting spins before it sleeps.
  explicit Team(int64_t workers,
                std::chrono::microseconds spin = std::chrono::microseconds(30));
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  /// The handle compiled code calls. One job at a time, from one thread.
  ee_team *handle() { return &face.team; }
  int64_t workers() const { return face.team.workers; }

private:
  struct Face {
    ee_team team; // first, so that a pointer to it leads back to the face
    Team *self;
  };

  static void runFromC(ee_team *self, ee_kernel_fn kernel,
                       const ee_stage_args *args, const void *context,
                       int64_t items, int64_t grain);
  void run(ee_kernel_fn kernel, const ee_stage_args *args, const void *context,
           int64_t items, int64_t grain);
  void work(uint32_t epoch, int64_t worker);
  void workerLoop(int64_t worker);
  template <typename Done> bool spinUntil(Done done) const;

  Face face;
  std::chrono::microseconds spin;
  std::vector<std::thread> threads;

  // The job. A worker that wakes late may read these while the next job is
  // being written; it notices because claiming a grain of its own epoch fails.
  std::atomic<ee_kernel_fn> kernel{nullptr};
  std::atomic<const ee_stage_args *> args{nullptr};
  std::atomic<const void *> context{nullptr};
  std::atomic<int64_t> items{0};
  std::atomic<int64_t> grains{0};

  // Epoch in the high half, grains not yet claimed in the low half: claiming
  // is one compare-and-swap that also proves that the job is still this one.
  alignas(64) std::atomic<uint64_t> claim{0};
  alignas(64) std::atomic<int32_t> pending{0}; // grains not yet finished
  alignas(64) std::atomic<uint32_t> epoch{0};
  std::atomic<int32_t> sleepers{0};
  std::atomic<bool> waiting{false};
  std::atomic<bool> stop{false};
};

} // namespace ee

#endif // EE_BACKENDS_CPU_TEAM_H

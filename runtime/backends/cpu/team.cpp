// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The persistent thread team; see team.h.
#include "team.h"

#include <algorithm>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ee {
namespace {
void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}
} // namespace

Team::Team(int64_t workers, std::chrono::microseconds spin)
    : face{{&Team::runFromC, std::max<int64_t>(1, workers)}, this}, spin(spin) {
  for (int64_t i = 1; i < face.team.workers; ++i)
    threads.emplace_back([this, i] { workerLoop(i); });
}

Team::~Team() {
  stop.store(true);
  epoch.fetch_add(1);
  epoch.notify_all();
  for (std::thread &thread : threads)
    thread.join();
}

void Team::runFromC(ee_team *self, ee_kernel_fn kernel,
                    const ee_stage_args *args, const void *context,
                    int64_t items, int64_t grain) {
  reinterpret_cast<Face *>(self)->self->run(kernel, args, context, items,
                                            grain);
}

/// Polls `done` for the spin time. Reads the clock only now and then.
template <typename Done> bool Team::spinUntil(Done done) const {
  if (done())
    return true;
  auto end = std::chrono::steady_clock::now() + spin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done())
        return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void Team::run(ee_kernel_fn newKernel, const ee_stage_args *newArgs,
               const void *newContext, int64_t newItems, int64_t grain) {
  if (newItems <= 0)
    return;
  grain = std::max<int64_t>(1, grain);
  // Several grains per worker let a fast worker take over from a slow one.
  int64_t count = std::clamp<int64_t>(newItems / grain, 1, workers() * 8);
  if (workers() == 1 || count == 1) {
    newKernel(newArgs, newContext, 0, newItems, 0);
    return;
  }
  kernel.store(newKernel, std::memory_order_relaxed);
  args.store(newArgs, std::memory_order_relaxed);
  context.store(newContext, std::memory_order_relaxed);
  items.store(newItems, std::memory_order_relaxed);
  grains.store(count, std::memory_order_relaxed);
  pending.store(int32_t(count), std::memory_order_relaxed);
  uint32_t now = epoch.load(std::memory_order_relaxed) + 1;
  claim.store(uint64_t(now) << 32 | uint64_t(count), std::memory_order_release);
  // Sequentially consistent with the sleepers count: either a worker going to
  // sleep sees the new epoch or we see the sleeper.
  epoch.store(now, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) > 0)
    epoch.notify_all();
  work(now, 0);
  auto finished = [this] {
    return pending.load(std::memory_order_acquire) == 0;
  };
  if (spinUntil(finished))
    return;
  waiting.store(true, std::memory_order_seq_cst);
  for (int32_t left = pending.load(std::memory_order_seq_cst); left != 0;
       left = pending.load(std::memory_order_acquire))
    pending.wait(left, std::memory_order_acquire);
  waiting.store(false, std::memory_order_relaxed);
}

void Team::work(uint32_t job, int64_t worker) {
  uint64_t word = claim.load(std::memory_order_acquire);
  while (uint32_t(word >> 32) == job && uint32_t(word) != 0) {
    ee_kernel_fn fn = kernel.load(std::memory_order_relaxed);
    const ee_stage_args *fnArgs = args.load(std::memory_order_relaxed);
    const void *fnContext = context.load(std::memory_order_relaxed);
    int64_t total = items.load(std::memory_order_relaxed);
    int64_t count = grains.load(std::memory_order_relaxed);
    if (!claim.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire))
      continue;
    // The claim succeeded, so the job was unfinished and what was read before
    // belongs to it.
    int64_t index = count - int64_t(uint32_t(word));
    int64_t size = total / count, rest = total % count;
    int64_t begin = index * size + std::min(index, rest);
    int64_t end = begin + size + (index < rest ? 1 : 0);
    fn(fnArgs, fnContext, begin, end, worker);
    if (pending.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
        waiting.load(std::memory_order_seq_cst))
      pending.notify_all();
    word = claim.load(std::memory_order_acquire);
  }
}

void Team::workerLoop(int64_t worker) {
  uint32_t seen = 0;
  while (true) {
    auto changed = [&] {
      return epoch.load(std::memory_order_acquire) != seen;
    };
    if (!spinUntil(changed)) {
      sleepers.fetch_add(1, std::memory_order_seq_cst);
      while (!changed())
        epoch.wait(seen, std::memory_order_seq_cst);
      sleepers.fetch_sub(1, std::memory_order_relaxed);
    }
    seen = epoch.load(std::memory_order_acquire);
    if (stop.load(std::memory_order_acquire))
      return;
    work(seen, worker);
  }
}

} // namespace ee

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the checks remember of each byte of memory: whether it was written, by
// whom, and who read it. Accesses are ordered by launches, by barriers of the
// CTA and by bar.warp.sync; two accesses of one byte that nothing orders, one
// of them a write, are a race (as in FastTrack, Flanagan and Freund 2009, with
// the barriers of a GPU instead of locks).
#ifndef EE_GPU_SIM_SHADOW_H
#define EE_GPU_SIM_SHADOW_H

#include "program.h"

#include <cstdint>

namespace ee::gpu {

/// What lanes of a warp know of another's accesses.
class WarpOrder {
public:
  void reset();
  /// A bar.warp.sync of the lanes in `mask`.
  void synchronise(uint32_t mask);
  uint32_t now() const { return time; }
  /// Whether what `other` did at `when` is visible to `lane`.
  bool ordered(int lane, int other, uint32_t when) const {
    return lane == other || seen[lane][other] >= when;
  }

private:
  uint32_t time = 1;
  uint32_t seen[warpLanes][warpLanes] = {};
};

/// The access that is made.
struct Access {
  uint32_t launch = 0; // first phase of the launch
  uint32_t cta = 0;    // first phase of the CTA
  uint32_t phase = 0;  // counts barriers of CTAs over all launches
  uint32_t warp = 0;
  int lane = 0;
  const WarpOrder *order = nullptr;
  bool write = false, atomic = false, nonCoherent = false;
  bool silent = false; // a store of what is there already
  bool fences = false; // the kernel orders CTAs by fences
};

enum class Conflict : uint8_t {
  None,
  Uninitialised,
  Race,        // with an access of another thread of the CTA
  CtaRace,     // with an access of another CTA in this launch
  NonCoherent, // .nc read of what this launch writes
};

/// A conflict, and the thread of the CTA that made the earlier access.
struct Verdict {
  Conflict conflict = Conflict::None;
  uint32_t warp = 0;
  int lane = 0;
};

/// The shadow of one allocation. Its memory counts once it is touched.
class Shadow {
public:
  explicit Shadow(uint64_t bytes);
  ~Shadow();
  Shadow(const Shadow &) = delete;

  void hostWrote(uint64_t offset, uint64_t length);
  /// Forgets everything; for the shared memory of the next CTA.
  void reset();

  /// Checks an access of `length` bytes and remembers it.
  Verdict access(uint64_t offset, uint64_t length, const Access &access);

private:
  struct Cell {
    uint32_t writePhase, writeTime;
    uint32_t readPhase, readTime, readLanes;
    uint32_t nonCoherentPhase;
    uint16_t writeThread, readWarp;
    bool atomic, manyWarps;
  };

  Verdict write(Cell &cell, const Access &access);
  Verdict read(Cell &cell, const Access &access);
  static Verdict afterWrite(const Cell &cell, const Access &access);
  static Verdict afterReads(const Cell &cell, const Access &access);

  uint64_t bytes;
  Cell *cells;
  uint8_t *initialised;
  bool whole = false;        // all bytes were written
  bool deviceWrites = false; // else reads need not be remembered
};

} // namespace ee::gpu

#endif // EE_GPU_SIM_SHADOW_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs one launch: CTA after CTA, the warps of a CTA in turns, the lanes of a
// warp in lock-step. Lanes that a branch parts go on as splits, lowest pc
// first, until they meet again.
#ifndef EE_GPU_SIM_INTERPRETER_H
#define EE_GPU_SIM_INTERPRETER_H

#include "lanes.h"
#include "machine.h"

#include <array>
#include <random>
#include <set>
#include <stdexcept>

namespace ee::gpu {

/// Lanes of a warp that are at the same instruction. A blocked split waits at
/// a collective for other lanes.
struct Split {
  int32_t pc = 0;
  uint32_t mask = 0;
  bool blocked = false;
};

/// An asynchronous copy that was issued and has not been waited for.
struct PendingCopy {
  uint64_t to, from;
  uint32_t bytes;
  const Instruction *at;
};

struct Warp {
  uint32_t index = 0;
  Lanes lanes;
  std::vector<Split> splits;
  uint32_t alive = 0;
  bool atBarrier = false;
  std::vector<uint8_t> local; // localBytes of each lane
  std::array<std::vector<PendingCopy>, warpLanes> open;
  std::array<std::vector<std::vector<PendingCopy>>, warpLanes> groups;
  WarpOrder order;
};

/// Ends a launch; its text is the whole report.
class Fault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Interpreter {
public:
  Interpreter(Machine &machine, const Kernel &kernel, const Module &module,
              Dim grid, Dim block, uint32_t dynamicSharedBytes,
              std::span<const uint8_t> parameters);
  /// Throws Fault.
  void run();

private:
  // interpreter.cpp: CTAs and warps.
  void prepare();
  void startWarp(Warp &warp, uint64_t cta);
  void setSpecials(Warp &warp, uint64_t cta);
  void runCta(uint64_t cta);
  bool releaseBarrier();

  // warp.cpp: splits.
  void step(Warp &warp, uint64_t quantum);
  size_t choose(Warp &warp);
  uint64_t burst(Warp &warp, size_t which, uint64_t quantum);
  static void merge(Warp &warp);
  /// Carries out the instruction; false ends the burst.
  bool execute(Warp &warp, Split &split, const Instruction &in);
  bool branch(Warp &warp, Split &split, const Instruction &in, uint32_t taken);
  bool branchIndexed(Warp &warp, Split &split, const Instruction &in,
                     uint32_t mask);
  bool end(Warp &warp, Split &split, const Instruction &in, uint32_t mask);
  /// Splits off the lanes that take no part or must wait for others.
  bool gather(Warp &warp, Split &split, const Instruction &in, uint32_t mask);
  bool collective(Warp &warp, Split &split, const Instruction &in);

  // shuffles.cpp and matrix.cpp: with all lanes of `mask` present.
  void shuffle(Warp &warp, const Instruction &in, uint32_t mask);
  void vote(Warp &warp, const Instruction &in, uint32_t mask);
  void reduce(Warp &warp, const Instruction &in, uint32_t mask);
  void loadMatrix(Warp &warp, const Instruction &in);
  void multiplyMatrix(Warp &warp, const Instruction &in);

  // access.cpp and copies.cpp: memory.
  void load(Warp &warp, const Instruction &in, uint32_t mask);
  void store(Warp &warp, const Instruction &in, uint32_t mask);
  void atomic(Warp &warp, const Instruction &in, uint32_t mask);
  void loadParameter(Warp &warp, const Instruction &in, uint32_t mask);
  void copyAsync(Warp &warp, const Instruction &in, uint32_t mask);
  void copyCommit(Warp &warp, uint32_t mask);
  void copyWait(Warp &warp, const Instruction &in, uint32_t mask);
  void finish(Warp &warp, int lane, const std::vector<PendingCopy> &copies);

  uint64_t addressOf(const Warp &warp, const Instruction &in, Ref base,
                     int64_t displacement, int lane) const;
  /// The bytes of all lanes' accesses lie together and aligned: what to add to
  /// an address to get the host's.
  bool together(const Warp &warp, const Instruction &in, uint32_t bytes,
                uint64_t &delta);
  /// The host's address of a lane's access, checked; throws Fault.
  uint8_t *resolve(Warp &warp, const Instruction &in, int lane,
                   uint64_t address, uint32_t bytes, bool write,
                   const uint8_t *value = nullptr);
  void check(Shadow &shadow, uint64_t offset, uint32_t bytes, Warp &warp,
             const Instruction &in, int lane, bool write, bool silent);

  [[noreturn]] void fault(const Warp &warp, int lane, const Instruction &in,
                          const std::string &what) const;
  void report(const Warp &warp, int lane, const Instruction &in,
              Verdict verdict);
  std::string where(const Warp &warp, int lane, const Instruction &in) const;
  const Instruction &at(const Split &split) const {
    return kernel.code[size_t(split.pc)];
  }

  Machine &machine;
  const Kernel &kernel;
  const Module &module;
  const Dim grid, block;
  std::span<const uint8_t> parameters;
  const bool checks, random;
  std::mt19937 randomness;
  std::vector<Warp> warps;
  std::vector<uint64_t> sharedStorage;
  uint8_t *shared = nullptr;
  uint32_t sharedBytes = 0;
  std::unique_ptr<Shadow> sharedShadow;
  std::set<std::pair<const Instruction *, Conflict>> reported;
  uint64_t cta = 0, executed = 0;
  uint32_t launchPhase = 0, ctaPhase = 0;
};

} // namespace ee::gpu

#endif // EE_GPU_SIM_INTERPRETER_H

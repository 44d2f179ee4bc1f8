// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The lanes of a warp: which run next, where they part and meet, and what they
// do together; see interpreter.h.
#include "interpreter.h"

#include "ee/file.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace ee::gpu {

void Interpreter::step(Warp &warp, uint64_t quantum) {
  while (quantum > 0 && !warp.splits.empty() && !warp.atBarrier) {
    uint64_t used = burst(warp, choose(warp), quantum);
    quantum -= std::min(used, quantum);
    executed += used;
    machine.instructions += used;
    if (executed > machine.options.instructionLimit)
      fault(warp, 0, kernel.code[0],
            "the launch carried out more than " +
                std::to_string(machine.options.instructionLimit) +
                " instructions");
    merge(warp);
  }
}

size_t Interpreter::choose(Warp &warp) {
  std::vector<Split> &splits = warp.splits;
  size_t best = splits.size(), ready = 0;
  for (size_t i = 0; i < splits.size(); ++i) {
    if (splits[i].blocked)
      continue;
    ++ready;
    if (random ? randomness() % ready == 0
               : best == splits.size() || splits[i].pc < splits[best].pc)
      best = i;
  }
  if (best == splits.size()) {
    const Split &first = splits.front();
    fault(warp, std::countr_zero(first.mask), at(first),
          splits.size() == 1
              ? "waits for lanes that have ended or do not take part"
              : "waits for lanes that are at " + inQuotes(at(splits[1]).text));
  }
  if (random && randomness() % 4 == 0) {
    // Threads are scheduled one by one: any of these lanes may run ahead.
    uint32_t part = splits[best].mask & uint32_t(randomness());
    if (part != 0 && part != splits[best].mask) {
      splits.push_back({splits[best].pc, splits[best].mask & ~part, false});
      splits[best].mask = part;
    }
  }
  return best;
}

/// Runs a split until it meets another one, parts, waits or ends.
uint64_t Interpreter::burst(Warp &warp, size_t which, uint64_t quantum) {
  Split split = warp.splits[which];
  warp.splits.erase(warp.splits.begin() + std::ptrdiff_t(which));
  int32_t meet = std::numeric_limits<int32_t>::max();
  if (random)
    quantum = std::min<uint64_t>(quantum, 1 + randomness() % 12);
  else
    for (const Split &other : warp.splits)
      if (!other.blocked || other.pc > split.pc)
        meet = std::min(meet, other.pc);
  uint64_t used = 0;
  bool going = true;
  while (going && used < quantum && (split.pc < meet || used == 0)) {
    ++used;
    going = execute(warp, split, at(split));
  }
  if (split.mask != 0)
    warp.splits.push_back(split);
  return used;
}

void Interpreter::merge(Warp &warp) {
  std::vector<Split> &splits = warp.splits;
  for (size_t i = 0; i + 1 < splits.size(); ++i)
    for (size_t j = i + 1; j < splits.size();) {
      if (splits[i].pc != splits[j].pc) {
        ++j;
        continue;
      }
      splits[i].mask |= splits[j].mask;
      splits[i].blocked = false;
      splits.erase(splits.begin() + std::ptrdiff_t(j));
    }
}

bool Interpreter::execute(Warp &warp, Split &split, const Instruction &in) {
  uint32_t mask = split.mask;
  if (in.guarded)
    mask &= warp.lanes.predicate(in.guard);
  switch (in.kind) {
  case Kind::Branch:
    return branch(warp, split, in, mask);
  case Kind::IndexedBranch:
    return branchIndexed(warp, split, in, mask);
  case Kind::Exit:
    return end(warp, split, in, mask);
  default:
    break;
  }
  if (mask == 0) {
    ++split.pc;
    return true;
  }
  switch (in.kind) {
  case Kind::Lane:
    in.run(warp.lanes, in, mask);
    break;
  case Kind::Load:
    load(warp, in, mask);
    break;
  case Kind::Store:
    store(warp, in, mask);
    break;
  case Kind::LoadParameter:
    loadParameter(warp, in, mask);
    break;
  case Kind::Atomic:
    atomic(warp, in, mask);
    break;
  case Kind::CopyAsync:
    copyAsync(warp, in, mask);
    break;
  case Kind::CopyCommit:
    copyCommit(warp, mask);
    break;
  case Kind::CopyWait:
    copyWait(warp, in, mask);
    break;
  case Kind::Fence:
    break;
  case Kind::ActiveMask:
    for (uint32_t m = mask; m; m &= m - 1)
      warp.lanes.out<uint32_t>(in.d)[std::countr_zero(m)] = mask;
    break;
  default:
    return gather(warp, split, in, mask) && collective(warp, split, in);
  }
  ++split.pc;
  return true;
}

bool Interpreter::branch(Warp &warp, Split &split, const Instruction &in,
                         uint32_t taken) {
  if (taken == split.mask) {
    split.pc = in.target;
    return true;
  }
  ++split.pc;
  if (taken == 0)
    return true;
  warp.splits.push_back({in.target, taken, false});
  split.mask &= ~taken;
  return false;
}

bool Interpreter::branchIndexed(Warp &warp, Split &split, const Instruction &in,
                                uint32_t mask) {
  const auto &targets = kernel.branchTables[size_t(in.target)];
  const uint32_t *index = warp.lanes.in<uint32_t>(in.a);
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    if (index[lane] >= targets.size())
      fault(warp, lane, in,
            "index " + std::to_string(index[lane]) + " of a table of " +
                std::to_string(targets.size()));
    warp.splits.push_back({targets[index[lane]], 1u << lane, false});
  }
  ++split.pc;
  split.mask &= ~mask;
  return false;
}

bool Interpreter::end(Warp &warp, Split &split, const Instruction &in,
                      uint32_t mask) {
  if (mask != 0 && in.flagA)
    fault(warp, std::countr_zero(mask), in, "the kernel trapped");
  ++split.pc;
  split.mask &= ~mask;
  warp.alive &= ~mask;
  // Nobody waits for lanes that have ended.
  if (mask != 0)
    for (Split &other : warp.splits)
      other.blocked = false;
  return split.mask != 0;
}

bool Interpreter::gather(Warp &warp, Split &split, const Instruction &in,
                         uint32_t mask) {
  if (mask != split.mask) {
    warp.splits.push_back({split.pc + 1, split.mask & ~mask, false});
    split.mask = mask;
  }
  uint32_t ready = mask;
  if (in.kind == Kind::CtaBarrier) {
    if (mask != warp.alive)
      ready = 0;
  } else {
    const uint32_t *named = warp.lanes.in<uint32_t>(in.b);
    for (uint32_t m = mask; m; m &= m - 1) {
      int lane = std::countr_zero(m);
      if (!(named[lane] >> lane & 1))
        fault(warp, lane, in, "the lane is not in the mask that it names");
      if (named[lane] & warp.alive & ~mask)
        ready &= ~(1u << lane);
    }
  }
  if (ready == mask)
    return true;
  split.blocked = true;
  if (ready == 0)
    return false;
  warp.splits.push_back({split.pc, mask & ~ready, true});
  split = {split.pc, ready, false};
  return true;
}

bool Interpreter::collective(Warp &warp, Split &split, const Instruction &in) {
  uint32_t mask = split.mask;
  ++split.pc;
  switch (in.kind) {
  case Kind::CtaBarrier:
    warp.atBarrier = true;
    return false;
  case Kind::WarpBarrier: {
    if (!checks)
      return true;
    const uint32_t *named = warp.lanes.in<uint32_t>(in.b);
    for (uint32_t left = mask; left;) {
      uint32_t group = named[std::countr_zero(left)] & mask;
      warp.order.synchronise(group);
      left &= ~group;
    }
    return true;
  }
  case Kind::Shuffle:
    shuffle(warp, in, mask);
    return true;
  case Kind::Vote:
    vote(warp, in, mask);
    return true;
  case Kind::Reduce:
    reduce(warp, in, mask);
    return true;
  case Kind::LoadMatrix:
    loadMatrix(warp, in);
    return true;
  default:
    multiplyMatrix(warp, in);
    return true;
  }
}

} // namespace ee::gpu

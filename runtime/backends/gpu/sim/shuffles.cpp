// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// shfl, vote and redux among the lanes of a warp; see interpreter.h.
#include "interpreter.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ee::gpu {
namespace {

/// The lane that `lane` reads: `c` holds the last lane (or, going up, the
/// first) in bits 0-4 and the mask that divides the warp in bits 8-12.
/// `valid` is false where it lies outside of the segment: the lane reads
/// itself.
int sourceLane(Mode mode, int lane, uint32_t b, uint32_t c, bool &valid) {
  int segment = int(c >> 8 & 31), bound = int(c & 31), by = int(b & 31);
  int last = (lane & segment) | (bound & ~segment), first = lane & segment;
  int from = lane;
  switch (mode) {
  case Mode::Butterfly:
    from = lane ^ by;
    break;
  case Mode::Down:
    from = lane + by;
    break;
  case Mode::Up:
    from = lane - by;
    valid = from >= last;
    return valid ? from : lane;
  default:
    from = first | (by & ~segment);
    break;
  }
  valid = from <= last;
  return valid ? from : lane;
}

uint32_t combine(Mode mode, bool isSigned, uint32_t a, uint32_t b) {
  switch (mode) {
  case Mode::Add:
    return a + b;
  case Mode::Min:
    return isSigned ? uint32_t(std::min(int32_t(a), int32_t(b)))
                    : std::min(a, b);
  case Mode::Max:
    return isSigned ? uint32_t(std::max(int32_t(a), int32_t(b)))
                    : std::max(a, b);
  case Mode::And:
    return a & b;
  case Mode::Or:
    return a | b;
  default:
    return a ^ b;
  }
}

} // namespace

void Interpreter::shuffle(Warp &warp, const Instruction &in, uint32_t mask) {
  uint32_t value[warpLanes];
  std::memcpy(value, warp.lanes.in<uint32_t>(in.a), sizeof value);
  const uint32_t *b = warp.lanes.in<uint32_t>(in.c);
  const uint32_t *c = warp.lanes.in<uint32_t>(in.e);
  const uint32_t *named = warp.lanes.in<uint32_t>(in.b);
  uint32_t inside = 0, result[warpLanes];
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    bool valid = false;
    int from = sourceLane(in.mode, lane, b[lane], c[lane], valid);
    inside |= uint32_t(valid) << lane;
    if (!(named[lane] & mask & warp.alive & (1u << from)))
      fault(warp, lane, in,
            "reads lane " + std::to_string(from) + ", which takes no part");
    result[lane] = value[from];
  }
  uint32_t *out = warp.lanes.out<uint32_t>(in.d);
  for (uint32_t m = mask; m; m &= m - 1)
    out[std::countr_zero(m)] = result[std::countr_zero(m)];
  if (in.hasQ)
    warp.lanes.setPredicate(in.q, inside, mask);
}

void Interpreter::vote(Warp &warp, const Instruction &in, uint32_t mask) {
  uint32_t holds = warp.lanes.predicate(in.p), result = 0;
  const uint32_t *named = warp.lanes.in<uint32_t>(in.b);
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    uint32_t members = named[lane] & warp.alive, yes = holds & members;
    if (in.mode == Mode::Ballot)
      warp.lanes.out<uint32_t>(in.d)[lane] = yes;
    bool answer = in.mode == Mode::Any   ? yes != 0
                  : in.mode == Mode::All ? yes == members
                                         : yes == 0 || yes == members;
    result |= uint32_t(answer) << lane;
  }
  if (in.mode != Mode::Ballot)
    warp.lanes.setPredicate(in.q, result, mask);
}

void Interpreter::reduce(Warp &warp, const Instruction &in, uint32_t mask) {
  uint32_t value[warpLanes];
  std::memcpy(value, warp.lanes.in<uint32_t>(in.a), sizeof value);
  const uint32_t *named = warp.lanes.in<uint32_t>(in.b);
  uint32_t *out = warp.lanes.out<uint32_t>(in.d);
  uint32_t members[warpLanes];
  for (uint32_t m = mask; m; m &= m - 1)
    members[std::countr_zero(m)] = named[std::countr_zero(m)] & warp.alive;
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    uint32_t rest = members[lane] & (members[lane] - 1);
    uint32_t result = value[std::countr_zero(members[lane])];
    for (; rest; rest &= rest - 1)
      result =
          combine(in.mode, in.isSigned, result, value[std::countr_zero(rest)]);
    out[lane] = result;
  }
}

} // namespace ee::gpu

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// cp.async: a copy takes place only when its thread waits for it, as late as
// PTX allows, so that a missing wait shows. See interpreter.h.
#include "interpreter.h"

#include <bit>
#include <cstring>

namespace ee::gpu {

void Interpreter::copyAsync(Warp &warp, const Instruction &in, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    Instruction source = in, target = in;
    source.space = Space::Global;
    target.space = Space::Shared;
    PendingCopy copy;
    copy.from = addressOf(warp, source, in.a, in.displacement, lane);
    copy.to = addressOf(warp, target, in.d, in.displacement2, lane);
    copy.bytes = in.bytes;
    copy.at = &in;
    resolve(warp, in, lane, copy.from, in.bytes, false);
    uint8_t *to = resolve(warp, in, lane, copy.to, in.bytes, true);
    if ((copy.to & windowMask) != sharedWindow)
      fault(warp, lane, in, "the address lies in another space");
    std::memset(to, Memory::poison, in.bytes);
    warp.open[size_t(lane)].push_back(copy);
  }
}

void Interpreter::copyCommit(Warp &warp, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    auto lane = size_t(std::countr_zero(m));
    warp.groups[lane].push_back(std::move(warp.open[lane]));
    warp.open[lane].clear();
  }
}

void Interpreter::copyWait(Warp &warp, const Instruction &in, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    auto &groups = warp.groups[size_t(lane)];
    while (groups.size() > size_t(in.target)) {
      finish(warp, lane, groups.front());
      groups.erase(groups.begin());
    }
    if (!in.flagA)
      continue;
    finish(warp, lane, warp.open[size_t(lane)]);
    warp.open[size_t(lane)].clear();
  }
}

void Interpreter::finish(Warp &warp, int lane,
                         const std::vector<PendingCopy> &copies) {
  for (const PendingCopy &copy : copies) {
    uint8_t *from = resolve(warp, *copy.at, lane, copy.from, copy.bytes, false);
    uint8_t *to = resolve(warp, *copy.at, lane, copy.to, copy.bytes, true);
    std::memcpy(to, from, copy.bytes);
  }
}

} // namespace ee::gpu

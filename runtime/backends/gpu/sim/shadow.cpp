// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Initialisation and races, byte by byte; see shadow.h.
#include "shadow.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <sys/mman.h>

namespace ee::gpu {
namespace {

void *reserve(uint64_t bytes) {
  void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED)
    throw std::bad_alloc();
  return data;
}

uint16_t threadOf(const Access &access) {
  return uint16_t(access.warp * warpLanes + uint32_t(access.lane));
}

} // namespace

void WarpOrder::reset() {
  time = 1;
  std::memset(seen, 0, sizeof seen);
}

void WarpOrder::synchronise(uint32_t mask) {
  uint32_t joined[warpLanes] = {};
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    for (int other = 0; other < warpLanes; ++other)
      joined[other] = std::max(joined[other], seen[lane][other]);
  }
  for (uint32_t m = mask; m; m &= m - 1)
    joined[std::countr_zero(m)] = time;
  for (uint32_t m = mask; m; m &= m - 1)
    std::memcpy(seen[std::countr_zero(m)], joined, sizeof joined);
  ++time;
}

Shadow::Shadow(uint64_t bytes)
    : bytes(bytes), cells(static_cast<Cell *>(reserve(bytes * sizeof(Cell)))),
      initialised(static_cast<uint8_t *>(reserve(bytes))) {}

Shadow::~Shadow() {
  munmap(cells, bytes * sizeof(Cell));
  munmap(initialised, bytes);
}

void Shadow::hostWrote(uint64_t offset, uint64_t length) {
  if (length == bytes)
    whole = true;
  else if (!whole)
    std::memset(initialised + offset, 1, length);
}

void Shadow::reset() {
  std::memset(static_cast<void *>(cells), 0, bytes * sizeof(Cell));
  std::memset(initialised, 0, bytes);
  whole = false;
}

Verdict Shadow::access(uint64_t offset, uint64_t length, const Access &access) {
  Verdict verdict;
  bool reads = !access.write || access.atomic;
  for (uint64_t i = offset; reads && !whole && i < offset + length; ++i)
    if (!initialised[i])
      verdict.conflict = Conflict::Uninitialised;
  if (access.write) {
    deviceWrites = true;
    if (!whole)
      std::memset(initialised + offset, 1, length);
  }
  // Data that no kernel has ever written (weights) cannot race. The first
  // launch that does write it is checked from its first write on.
  if (!deviceWrites)
    return verdict;
  for (uint64_t i = offset; i < offset + length; ++i) {
    Verdict one =
        access.write ? write(cells[i], access) : read(cells[i], access);
    if (verdict.conflict == Conflict::None)
      verdict = one;
  }
  return verdict;
}

Verdict Shadow::afterWrite(const Cell &cell, const Access &access) {
  if (cell.writePhase < access.launch || (cell.atomic && access.atomic))
    return {};
  Verdict found{Conflict::Race, uint32_t(cell.writeThread / warpLanes),
                cell.writeThread % warpLanes};
  if (cell.writePhase < access.cta) {
    found.conflict = access.fences ? Conflict::None : Conflict::CtaRace;
    return found;
  }
  if (cell.writePhase < access.phase)
    return {};
  if (found.warp != access.warp)
    return found;
  return access.order->ordered(access.lane, found.lane, cell.writeTime)
             ? Verdict()
             : found;
}

Verdict Shadow::afterReads(const Cell &cell, const Access &access) {
  if (cell.readPhase < access.launch)
    return {};
  int first = std::countr_zero(cell.readLanes);
  Verdict found{Conflict::Race, cell.readWarp, first};
  if (cell.readPhase < access.cta) {
    found.conflict = access.fences ? Conflict::None : Conflict::CtaRace;
    return found;
  }
  if (cell.readPhase < access.phase)
    return {};
  if (cell.manyWarps || cell.readWarp != access.warp)
    return found;
  for (uint32_t m = cell.readLanes; m; m &= m - 1) {
    found.lane = std::countr_zero(m);
    if (!access.order->ordered(access.lane, found.lane, cell.readTime))
      return found;
  }
  return {};
}

Verdict Shadow::write(Cell &cell, const Access &access) {
  Verdict verdict;
  if (cell.nonCoherentPhase >= access.launch && cell.nonCoherentPhase != 0)
    verdict.conflict = Conflict::NonCoherent;
  if (verdict.conflict == Conflict::None && !access.silent)
    verdict = afterWrite(cell, access);
  if (verdict.conflict == Conflict::None)
    verdict = afterReads(cell, access);
  cell.writePhase = access.phase;
  cell.writeTime = access.order->now();
  cell.writeThread = threadOf(access);
  cell.atomic = access.atomic;
  return verdict;
}

Verdict Shadow::read(Cell &cell, const Access &access) {
  Verdict verdict;
  if (access.nonCoherent) {
    if (cell.writePhase >= access.launch)
      verdict.conflict = Conflict::NonCoherent;
    cell.nonCoherentPhase = access.phase;
  } else {
    verdict = afterWrite(cell, access);
  }
  uint32_t lane = 1u << access.lane;
  if (cell.readPhase != access.phase) {
    cell.readLanes = lane;
    cell.manyWarps = false;
  } else if (cell.readWarp != access.warp) {
    cell.manyWarps = true;
  } else {
    // A reader that later ones have synchronised with is covered by them.
    bool covered = true;
    for (uint32_t m = cell.readLanes; m; m &= m - 1)
      covered &= access.order->ordered(access.lane, std::countr_zero(m),
                                       cell.readTime);
    cell.readLanes = covered ? lane : cell.readLanes | lane;
  }
  cell.readPhase = access.phase;
  cell.readTime = access.order->now();
  cell.readWarp = uint16_t(access.warp);
  return verdict;
}

} // namespace ee::gpu

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loads, stores and atomics. An access of a whole warp that lies in one
// allocation goes fast; all others, and all when checks are on, go lane by
// lane. See interpreter.h.
#include "interpreter.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ee::gpu {
namespace {

/// Memory of `Element` into registers of 4 or 8 bytes, sign extended where the
/// element is signed.
template <typename Element, typename Register>
void gatherLanes(Register *out, const uint64_t *from, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    Element value;
    std::memcpy(&value, reinterpret_cast<const void *>(from[lane]),
                sizeof value);
    out[lane] = static_cast<Register>(value);
  }
}

template <typename Register>
void gatherAny(const Instruction &in, Register *out, const uint64_t *from,
               uint32_t mask) {
  switch (in.bytes) {
  case 1:
    return in.isSigned ? gatherLanes<int8_t>(out, from, mask)
                       : gatherLanes<uint8_t>(out, from, mask);
  case 2:
    return in.isSigned ? gatherLanes<int16_t>(out, from, mask)
                       : gatherLanes<uint16_t>(out, from, mask);
  case 4:
    return in.isSigned ? gatherLanes<int32_t>(out, from, mask)
                       : gatherLanes<uint32_t>(out, from, mask);
  default:
    return gatherLanes<uint64_t>(out, from, mask);
  }
}

template <typename Element, typename Register>
void scatterLanes(const Register *values, const uint64_t *to, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    Element value = static_cast<Element>(values[lane]);
    std::memcpy(reinterpret_cast<void *>(to[lane]), &value, sizeof value);
  }
}

template <typename Register>
void scatterAny(const Instruction &in, const Register *values,
                const uint64_t *to, uint32_t mask) {
  switch (in.bytes) {
  case 1:
    return scatterLanes<uint8_t>(values, to, mask);
  case 2:
    return scatterLanes<uint16_t>(values, to, mask);
  case 4:
    return scatterLanes<uint32_t>(values, to, mask);
  default:
    return scatterLanes<uint64_t>(values, to, mask);
  }
}

/// The value of a register at a lane, whatever its width.
uint64_t valueAt(const Lanes &lanes, Ref ref, int lane) {
  return ref.wide() ? lanes.in<uint64_t>(ref)[lane]
                    : lanes.in<uint32_t>(ref)[lane];
}

template <typename T>
uint64_t combineAs(Mode mode, uint64_t oldBits, uint64_t newBits,
                   uint64_t compare) {
  T old = T(oldBits), operand = T(newBits), result = operand;
  using U = std::make_unsigned_t<T>;
  switch (mode) {
  case Mode::Add:
    result = T(U(old) + U(operand));
    break;
  case Mode::Min:
    result = std::min(old, operand);
    break;
  case Mode::Max:
    result = std::max(old, operand);
    break;
  case Mode::And:
    result = old & operand;
    break;
  case Mode::Or:
    result = old | operand;
    break;
  case Mode::Xor:
    result = old ^ operand;
    break;
  case Mode::CompareSwap: // the first operand is what is compared
    result = old == operand ? T(compare) : old;
    break;
  case Mode::Increment:
    result = U(old) >= U(operand) ? T(0) : T(old + 1);
    break;
  case Mode::Decrement:
    result = old == 0 || U(old) > U(operand) ? operand : T(old - 1);
    break;
  default:
    break;
  }
  return uint64_t(U(result));
}

uint64_t combineAtomic(const Instruction &in, uint64_t old, uint64_t operand,
                       uint64_t compare) {
  if (in.isFloat && in.bytes == 4 && in.mode == Mode::Add)
    return std::bit_cast<uint32_t>(std::bit_cast<float>(uint32_t(old)) +
                                   std::bit_cast<float>(uint32_t(operand)));
  if (in.isFloat && in.bytes == 8 && in.mode == Mode::Add)
    return std::bit_cast<uint64_t>(std::bit_cast<double>(old) +
                                   std::bit_cast<double>(operand));
  if (in.bytes == 8)
    return in.isSigned ? combineAs<int64_t>(in.mode, old, operand, compare)
                       : combineAs<uint64_t>(in.mode, old, operand, compare);
  return in.isSigned ? combineAs<int32_t>(in.mode, old, operand, compare)
                     : combineAs<uint32_t>(in.mode, old, operand, compare);
}

} // namespace

uint64_t Interpreter::addressOf(const Warp &warp, const Instruction &in,
                                Ref base, int64_t displacement,
                                int lane) const {
  uint64_t address = valueAt(warp.lanes, base, lane) + uint64_t(displacement);
  if ((address & windowMask) == 0) { // an offset into its space
    if (in.space == Space::Shared)
      address |= sharedWindow;
    if (in.space == Space::Local)
      address |= localWindow;
  }
  return address;
}

bool Interpreter::together(const Warp &warp, const Instruction &in,
                           uint32_t bytes, uint64_t &delta) {
  if (!in.a.wide() || in.space == Space::Local)
    return false;
  const uint64_t *base = warp.lanes.in<uint64_t>(in.a);
  uint64_t low = base[0], high = base[0], all = 0;
  for (int lane = 0; lane < warpLanes; ++lane) {
    low = std::min(low, base[lane]);
    high = std::max(high, base[lane]);
    all |= base[lane] + uint64_t(in.displacement);
  }
  low += uint64_t(in.displacement);
  high += uint64_t(in.displacement);
  uint64_t length = high - low + bytes;
  if ((all & (bytes - 1)) || length < bytes)
    return false;
  delta = 0;
  if ((low & windowMask) == sharedWindow) {
    delta = reinterpret_cast<uint64_t>(shared) - sharedWindow;
    uint64_t offset = low - sharedWindow;
    return in.space != Space::Global && offset <= sharedBytes &&
           length <= sharedBytes - offset;
  }
  return in.space != Space::Shared && machine.memory.find(low, length);
}

uint8_t *Interpreter::resolve(Warp &warp, const Instruction &in, int lane,
                              uint64_t address, uint32_t bytes, bool write,
                              const uint8_t *value) {
  if (address & (bytes - 1))
    fault(warp, lane, in,
          "misaligned: " + std::to_string(bytes) + " bytes at offset " +
              std::to_string(address & (bytes - 1)) + " of their alignment");
  uint64_t window = address & windowMask, offset = address & ~windowMask;
  bool isShared = window == sharedWindow, isLocal = window == localWindow;
  if ((in.space == Space::Shared && !isShared) ||
      (in.space == Space::Local && !isLocal) ||
      ((in.space == Space::Global || in.space == Space::Constant) &&
       (isShared || isLocal)))
    fault(warp, lane, in, "the address lies in another space");
  uint32_t size = isShared ? sharedBytes : kernel.localBytes;
  if ((isShared || isLocal) && (offset > size || bytes > size - offset))
    fault(warp, lane, in,
          std::string("out of bounds: ") + std::to_string(bytes) +
              " bytes at offset " + std::to_string(offset) + " of " +
              std::to_string(size) + " bytes of " +
              (isShared ? "shared" : "local") + " memory");
  if (isLocal)
    return warp.local.data() + size_t(lane) * kernel.localBytes + offset;
  uint8_t *host = shared + offset;
  Shadow *shadow = sharedShadow.get();
  if (!isShared) {
    Region *region = machine.memory.find(address, bytes);
    if (!region)
      fault(warp, lane, in,
            "out of bounds: " + machine.memory.explain(address, bytes));
    host = reinterpret_cast<uint8_t *>(address);
    shadow = region->shadow.get();
    offset = address - region->begin;
  }
  if (checks && shadow)
    check(*shadow, offset, bytes, warp, in, lane, write,
          value && std::memcmp(host, value, bytes) == 0);
  return host;
}

void Interpreter::check(Shadow &shadow, uint64_t offset, uint32_t bytes,
                        Warp &warp, const Instruction &in, int lane, bool write,
                        bool silent) {
  Access access;
  access.launch = launchPhase;
  access.cta = ctaPhase;
  access.phase = machine.phase;
  access.warp = warp.index;
  access.lane = lane;
  access.order = &warp.order;
  access.write = write;
  access.atomic = in.kind == Kind::Atomic;
  access.nonCoherent = in.nonCoherent;
  access.silent = silent;
  access.fences = kernel.fences;
  Verdict verdict = shadow.access(offset, bytes, access);
  if (verdict.conflict != Conflict::None)
    report(warp, lane, in, verdict);
}

void Interpreter::load(Warp &warp, const Instruction &in, uint32_t mask) {
  uint32_t bytes = uint32_t(in.bytes) * in.elements;
  uint64_t from[warpLanes], delta = 0;
  if (!checks && mask == allLanes && together(warp, in, bytes, delta)) {
    const uint64_t *base = warp.lanes.in<uint64_t>(in.a);
    for (int lane = 0; lane < warpLanes; ++lane)
      from[lane] = base[lane] + uint64_t(in.displacement) + delta;
  } else {
    for (uint32_t m = mask; m; m &= m - 1) {
      int lane = std::countr_zero(m);
      uint64_t address = addressOf(warp, in, in.a, in.displacement, lane);
      from[lane] = reinterpret_cast<uint64_t>(
          resolve(warp, in, lane, address, bytes, false));
    }
  }
  for (uint32_t i = 0; i < in.elements; ++i) {
    Ref to = kernel.refs[in.refs + i];
    if (to.wide())
      gatherAny(in, warp.lanes.out<uint64_t>(to), from, mask);
    else
      gatherAny(in, warp.lanes.out<uint32_t>(to), from, mask);
    for (uint64_t &address : from)
      address += in.bytes;
  }
}

void Interpreter::store(Warp &warp, const Instruction &in, uint32_t mask) {
  uint32_t bytes = uint32_t(in.bytes) * in.elements;
  uint64_t to[warpLanes], delta = 0;
  if (!checks && mask == allLanes && together(warp, in, bytes, delta)) {
    const uint64_t *base = warp.lanes.in<uint64_t>(in.a);
    for (int lane = 0; lane < warpLanes; ++lane)
      to[lane] = base[lane] + uint64_t(in.displacement) + delta;
  } else {
    for (uint32_t m = mask; m; m &= m - 1) {
      int lane = std::countr_zero(m);
      uint8_t value[64];
      for (uint32_t i = 0; i < in.elements; ++i) {
        uint64_t element = valueAt(warp.lanes, kernel.refs[in.refs + i], lane);
        std::memcpy(value + i * in.bytes, &element, in.bytes);
      }
      uint64_t address = addressOf(warp, in, in.a, in.displacement, lane);
      uint8_t *host = resolve(warp, in, lane, address, bytes, true, value);
      to[lane] = reinterpret_cast<uint64_t>(host);
      // At once, so that a second lane's store of the same is seen as such.
      std::memcpy(host, value, bytes);
    }
    return;
  }
  for (uint32_t i = 0; i < in.elements; ++i) {
    Ref from = kernel.refs[in.refs + i];
    if (from.wide())
      scatterAny(in, warp.lanes.in<uint64_t>(from), to, mask);
    else
      scatterAny(in, warp.lanes.in<uint32_t>(from), to, mask);
    for (uint64_t &address : to)
      address += in.bytes;
  }
}

void Interpreter::atomic(Warp &warp, const Instruction &in, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    uint64_t address = addressOf(warp, in, in.a, in.displacement, lane);
    uint8_t *host = resolve(warp, in, lane, address, in.bytes, true);
    uint64_t old = 0;
    std::memcpy(&old, host, in.bytes);
    uint64_t result = combineAtomic(
        in, old, valueAt(warp.lanes, in.b, lane),
        in.mode == Mode::CompareSwap ? valueAt(warp.lanes, in.c, lane) : 0);
    std::memcpy(host, &result, in.bytes);
    if (!in.hasResult)
      continue;
    if (in.d.wide())
      warp.lanes.out<uint64_t>(in.d)[lane] = old;
    else
      warp.lanes.out<uint32_t>(in.d)[lane] = uint32_t(old);
  }
}

void Interpreter::loadParameter(Warp &warp, const Instruction &in,
                                uint32_t mask) {
  uint64_t from[warpLanes];
  for (uint64_t &address : from)
    address = reinterpret_cast<uint64_t>(parameters.data()) +
              uint64_t(in.displacement);
  for (uint32_t i = 0; i < in.elements; ++i) {
    Ref to = kernel.refs[in.refs + i];
    if (to.wide())
      gatherAny(in, warp.lanes.out<uint64_t>(to), from, mask);
    else
      gatherAny(in, warp.lanes.out<uint32_t>(to), from, mask);
    for (uint64_t &address : from)
      address += in.bytes;
  }
}

} // namespace ee::gpu

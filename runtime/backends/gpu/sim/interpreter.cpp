// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A launch: CTAs, their warps, and the reports; see interpreter.h.
#include "interpreter.h"

#include "ee/file.h"
#include "parser.h"
#include "statement.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace ee::gpu {

Interpreter::Interpreter(Machine &machine, const Kernel &kernel,
                         const Module &module, Dim grid, Dim block,
                         uint32_t dynamicSharedBytes,
                         std::span<const uint8_t> parameters)
    : machine(machine), kernel(kernel), module(module), grid(grid),
      block(block), parameters(parameters), checks(machine.options.check),
      random(machine.options.seed != 0),
      randomness(machine.options.seed + uint32_t(machine.launches)) {
  sharedBytes = kernel.sharedBytes + dynamicSharedBytes;
  sharedStorage.resize(sharedBytes / 8 + 2);
  // 16-byte vectors are read through it.
  uint64_t begin = reinterpret_cast<uint64_t>(sharedStorage.data());
  shared = reinterpret_cast<uint8_t *>((begin + 15) & ~uint64_t(15));
  if (checks && sharedBytes > 0)
    sharedShadow = std::make_unique<Shadow>(sharedBytes);
  prepare();
}

void Interpreter::prepare() {
  size_t count = size_t((block.count() + warpLanes - 1) / warpLanes);
  warps.resize(count);
  auto &storage = machine.storage;
  if (storage.size() < count)
    storage.resize(count);
  for (size_t i = 0; i < count; ++i) {
    auto &registers = storage[i].registers;
    auto &predicates = storage[i].predicates;
    if (registers.size() < kernel.registerBytes / 8)
      registers.resize(kernel.registerBytes / 8);
    if (predicates.size() < kernel.predicates)
      predicates.resize(kernel.predicates);
    predicates[0] = 0, predicates[1] = allLanes;
    Warp &warp = warps[i];
    warp.index = uint32_t(i);
    warp.lanes.registers = reinterpret_cast<std::byte *>(registers.data());
    warp.lanes.constants =
        reinterpret_cast<const std::byte *>(kernel.constants.data());
    warp.lanes.predicates = predicates.data();
    warp.lanes.refs = kernel.refs.data();
    warp.local.resize(size_t(kernel.localBytes) * warpLanes);
  }
}

void Interpreter::startWarp(Warp &warp, uint64_t index) {
  uint64_t threads = block.count() - uint64_t(warp.index) * warpLanes;
  warp.alive = threads >= warpLanes ? allLanes : (1u << threads) - 1;
  warp.splits.assign(1, {0, warp.alive, false});
  warp.atBarrier = false;
  if (checks) {
    // What a kernel reads before it writes must not be what the last CTA left.
    std::memset(warp.lanes.registers, Memory::poison, kernel.registerBytes);
    std::fill(warp.local.begin(), warp.local.end(), Memory::poison);
    warp.order.reset();
  }
  for (int lane = 0; lane < warpLanes; ++lane) {
    warp.open[size_t(lane)].clear();
    warp.groups[size_t(lane)].clear();
  }
  setSpecials(warp, index);
}

void Interpreter::setSpecials(Warp &warp, uint64_t index) {
  auto set = [&](Special special, auto value) {
    auto *lanes = warp.lanes.out<uint32_t>(specialRegister(special));
    for (uint32_t lane = 0; lane < warpLanes; ++lane)
      lanes[lane] = uint32_t(value(lane));
  };
  auto all = [&](Special special, uint64_t value) {
    set(special, [&](uint32_t) { return value; });
  };
  uint64_t first = uint64_t(warp.index) * warpLanes;
  set(TidX, [&](uint32_t l) { return (first + l) % block.x; });
  set(TidY, [&](uint32_t l) { return (first + l) / block.x % block.y; });
  set(TidZ, [&](uint32_t l) { return (first + l) / block.x / block.y; });
  all(CtaX, index % grid.x);
  all(CtaY, index / grid.x % grid.y);
  all(CtaZ, index / grid.x / grid.y);
  all(NtidX, block.x), all(NtidY, block.y), all(NtidZ, block.z);
  all(NctaX, grid.x), all(NctaY, grid.y), all(NctaZ, grid.z);
  all(WarpId, warp.index), all(WarpCount, warps.size());
  set(LaneId, [](uint32_t l) { return l; });
  set(MaskEq, [](uint32_t l) { return 1u << l; });
  set(MaskLt, [](uint32_t l) { return (1u << l) - 1; });
  set(MaskLe, [](uint32_t l) { return (2u << l) - 1; });
  set(MaskGt, [](uint32_t l) { return ~((2u << l) - 1); });
  set(MaskGe, [](uint32_t l) { return ~((1u << l) - 1); });
}

void Interpreter::run() {
  std::vector<uint64_t> order(grid.count());
  std::iota(order.begin(), order.end(), uint64_t(0));
  if (random)
    std::shuffle(order.begin(), order.end(), randomness);
  launchPhase = machine.phase + 1;
  for (uint64_t each : order)
    runCta(each);
}

void Interpreter::runCta(uint64_t index) {
  cta = index;
  ctaPhase = ++machine.phase;
  if (sharedShadow)
    sharedShadow->reset();
  if (checks)
    std::memset(shared, Memory::poison, sharedBytes);
  for (Warp &warp : warps)
    startWarp(warp, index);
  std::vector<size_t> order(warps.size());
  std::iota(order.begin(), order.end(), size_t(0));
  while (true) {
    if (random)
      std::shuffle(order.begin(), order.end(), randomness);
    bool live = false;
    for (size_t i : order) {
      Warp &warp = warps[i];
      if (warp.splits.empty() || warp.atBarrier)
        continue;
      live = true;
      step(warp, random ? 1 + randomness() % 200 : uint64_t(1) << 20);
    }
    if (!live && !releaseBarrier())
      return;
  }
}

/// All warps that are left wait at the barrier.
bool Interpreter::releaseBarrier() {
  bool any = false;
  for (Warp &warp : warps) {
    any |= warp.atBarrier;
    warp.atBarrier = false;
  }
  ++machine.phase;
  return any;
}

std::string Interpreter::where(const Warp &warp, int lane,
                               const Instruction &in) const {
  uint64_t thread = uint64_t(warp.index) * warpLanes + uint64_t(lane);
  std::string text = "kernel " + kernel.name + ", cta " + std::to_string(cta) +
                     ", thread " + std::to_string(thread) + " (warp " +
                     std::to_string(warp.index) + ", lane " +
                     std::to_string(lane) + "), PTX line " +
                     std::to_string(in.line) + ": " + inQuotes(in.text);
  if (in.location != 0)
    text += " of " + module.locations[in.location];
  return text;
}

void Interpreter::fault(const Warp &warp, int lane, const Instruction &in,
                        const std::string &what) const {
  throw Fault(where(warp, lane, in) + ": " + what);
}

void Interpreter::report(const Warp &warp, int lane, const Instruction &in,
                         Verdict verdict) {
  if (!reported.emplace(&in, verdict.conflict).second)
    return;
  std::string other =
      std::to_string(verdict.warp * warpLanes + uint32_t(verdict.lane));
  std::string what;
  switch (verdict.conflict) {
  case Conflict::None:
    return;
  case Conflict::Uninitialised:
    what = "reads memory that was never written";
    break;
  case Conflict::Race:
    what = "races with thread " + other +
           ": no barrier lies between the two accesses";
    break;
  case Conflict::CtaRace:
    what = "races with thread " + other +
           " of another CTA: nothing orders the CTAs of a launch";
    break;
  case Conflict::NonCoherent:
    what = "a .nc load reads what this launch writes";
    break;
  }
  machine.findings.push_back(
      {verdict.conflict, where(warp, lane, in) + ": " + what});
}

Expected<std::unique_ptr<Module>> Machine::load(std::string ptx) {
  std::vector<uint64_t> placed;
  auto place = [&](Variable &variable) -> Expected<void> {
    auto address =
        memory.allocate(variable.bytes.size(), "variable " + variable.name);
    if (!address)
      return address.takeFailure();
    placed.push_back(*address);
    variable.address = reinterpret_cast<const uint8_t *>(*address);
    std::memcpy(reinterpret_cast<void *>(*address), variable.bytes.data(),
                variable.bytes.size());
    // Variables without a value begin as zero.
    memory.written(*address, variable.bytes.size());
    return {};
  };
  auto module = parseModule(std::move(ptx), place);
  if (!module)
    for (uint64_t address : placed)
      (void)memory.release(address);
  return module;
}

void Machine::unload(const Module &module) {
  for (auto &[name, variable] : module.variables)
    (void)memory.release(reinterpret_cast<uint64_t>(variable.address));
}

Expected<void> Machine::launch(const Kernel &kernel, const Module &module,
                               Dim grid, Dim block, uint32_t dynamicSharedBytes,
                               std::span<const uint8_t> parameters) {
  if (block.count() == 0 || block.count() > 1024 || grid.count() == 0 ||
      grid.count() > uint64_t(1) << 31)
    return Failure{"kernel " + kernel.name +
                   ": a launch has 1 to 1024 "
                   "threads a CTA and at least one CTA"};
  if (parameters.size() != kernel.parameterBytes)
    return Failure{"kernel " + kernel.name + " takes " +
                   std::to_string(kernel.parameterBytes) +
                   " bytes of parameters, but got " +
                   std::to_string(parameters.size())};
  ++launches;
  try {
    Interpreter(*this, kernel, module, grid, block, dynamicSharedBytes,
                parameters)
        .run();
  } catch (const Fault &fault) {
    return Failure{fault.what()};
  }
  return {};
}

} // namespace ee::gpu

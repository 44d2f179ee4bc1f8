// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A GPU that runs PTX text: memory, modules and launches. Deterministic: the
// same seed gives the same schedule.
#ifndef EE_GPU_SIM_MACHINE_H
#define EE_GPU_SIM_MACHINE_H

#include "memory.h"
#include "program.h"

#include <span>

namespace ee::gpu {

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
};

struct SimOptions {
  /// Races, uninitialised reads and .nc loads are looked for, and memory is
  /// poisoned. Bounds, alignment and stuck warps always end a launch.
  bool check = false;
  /// 0: CTAs and warps in order, the lanes of a warp together where they can.
  /// Else: a random order of all three, lanes split at any instruction.
  uint32_t seed = 0;
  /// A launch that carries out more instructions of warps is stopped.
  uint64_t instructionLimit = uint64_t(1) << 40;
};

/// What the checks have found, at most one for each instruction and kind.
struct Finding {
  Conflict conflict;
  std::string text; // one line: kernel, thread, instruction, what is wrong
};

/// The registers of a warp, kept from launch to launch.
struct WarpStorage {
  std::vector<uint64_t> registers;
  std::vector<uint32_t> predicates;
};

class Machine {
public:
  explicit Machine(SimOptions options)
      : options(options), memory(options.check) {}

  Expected<std::unique_ptr<Module>> load(std::string ptx);
  void unload(const Module &module);
  /// Runs a whole grid. `parameters` are laid out as the kernel declares them.
  /// A failure is a fault: the launch ended in the middle.
  Expected<void> launch(const Kernel &kernel, const Module &module, Dim grid,
                        Dim block, uint32_t dynamicSharedBytes,
                        std::span<const uint8_t> parameters);

  const SimOptions options;
  Memory memory;
  std::vector<Finding> findings;
  uint64_t instructions = 0; // of warps, over all launches
  uint64_t launches = 0;

private:
  friend class Interpreter;
  uint32_t phase = 0; // see Access
  std::vector<WarpStorage> storage;
};

} // namespace ee::gpu

#endif // EE_GPU_SIM_MACHINE_H

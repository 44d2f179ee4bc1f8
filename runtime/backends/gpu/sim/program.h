// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A PTX module after parsing: kernels whose operands are offsets into the
// register file of a warp. A register is an array with one element for each of
// the 32 lanes, of 4 bytes (types of up to 32 bits) or 8; predicates are masks
// with a bit for each lane.
#ifndef EE_GPU_SIM_PROGRAM_H
#define EE_GPU_SIM_PROGRAM_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ee::gpu {

inline constexpr int warpLanes = 32;
inline constexpr uint32_t allLanes = ~uint32_t(0);

/// An operand: where its lanes lie in the registers or in the constants.
struct Ref {
  static constexpr uint32_t constantBit = 1u << 31, wideBit = 1u << 30;
  uint32_t bits = 0;

  uint32_t offset() const { return bits & ~(constantBit | wideBit); }
  bool constant() const { return bits & constantBit; }
  bool wide() const { return bits & wideBit; } // 8 bytes a lane
};

/// A predicate operand: the index of its mask, and whether `!` is before it.
struct PredicateRef {
  uint32_t index = 0;
  bool inverted = false;
};

struct Lanes;
struct Instruction;
/// Carries out an instruction that only works on registers, in the lanes of
/// `mask`.
using LaneFunction = void (*)(Lanes &lanes, const Instruction &instruction,
                              uint32_t mask);

enum class Kind : uint8_t {
  Lane,
  Branch,
  IndexedBranch,
  Exit,
  Load,
  Store,
  Atomic,
  Fence,
  Shuffle,
  Vote,
  Reduce,
  ActiveMask,
  WarpBarrier,
  CtaBarrier,
  LoadMatrix,
  MultiplyMatrix,
  CopyAsync,
  CopyCommit,
  CopyWait,
  LoadParameter,
};

enum class Space : uint8_t { Generic, Global, Shared, Local, Constant };

/// What distinguishes instructions of one kind.
enum class Mode : uint8_t {
  None,
  // Shuffle
  Butterfly,
  Down,
  Up,
  Index,
  // Vote
  Ballot,
  Any,
  All,
  Uniform,
  // Reduce and Atomic
  Add,
  Min,
  Max,
  And,
  Or,
  Xor,
  Exchange,
  CompareSwap,
  Increment,
  Decrement,
  // MultiplyMatrix
  F16,
  BF16,
  Integer,
};

struct Instruction {
  Kind kind = Kind::Lane;
  Space space = Space::Generic;
  Mode mode = Mode::None;
  uint8_t bytes = 4;    // of an element in memory, or of an async copy
  uint8_t elements = 1; // of a vector access
  bool isSigned = false, isFloat = false;
  bool nonCoherent = false; // .nc
  bool flagA = false, flagB = false;
  bool guarded = false;
  PredicateRef guard;
  LaneFunction run = nullptr;
  Ref d, a, b, c, e;
  PredicateRef p, r; // predicate sources
  PredicateRef q;    // predicate result
  bool hasResult = true, hasQ = false;
  int64_t displacement = 0, displacement2 = 0;
  int32_t target = -1; // of a branch; depth of a wait; list of a table
  uint32_t refs = 0;   // first of its operands in Kernel::refs
  uint32_t line = 0;   // of the PTX text, from 1
  uint32_t location = 0;
  std::string_view text;
};

struct Parameter {
  std::string name;
  uint32_t offset = 0, bytes = 0;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameterBytes = 0;
  std::vector<Instruction> code;
  std::vector<Ref> refs; // operands of vectors and matrices
  std::vector<std::vector<int32_t>> branchTables;
  std::vector<uint64_t> constants; // the constant file
  uint32_t registerBytes = 0, predicates = 0;
  uint32_t sharedBytes = 0, localBytes = 0;
  bool fences = false; // orders memory by fences, beside barriers
};

/// A variable of .global or .const space.
struct Variable {
  std::string name;
  uint32_t align = 1;
  std::vector<uint8_t> bytes;
  bool initialised = false;
  const uint8_t *address = nullptr; // fixed before the kernels are parsed
};

struct Module {
  std::string text;
  std::string target; // sm_80
  std::map<std::string, Kernel, std::less<>> kernels;
  std::map<std::string, Variable, std::less<>> variables;
  std::vector<std::string> locations; // 0 is unknown

  Module() = default;
  Module(const Module &) = delete; // instructions point into `text`
};

/// Shared and local memory appear at these generic addresses, where no host
/// pointer can lie.
inline constexpr uint64_t sharedWindow = 0x5aaa'0000'0000'0000;
inline constexpr uint64_t localWindow = 0x5bbb'0000'0000'0000;
inline constexpr uint64_t windowMask = 0xffff'0000'0000'0000;

} // namespace ee::gpu

#endif // EE_GPU_SIM_PROGRAM_H

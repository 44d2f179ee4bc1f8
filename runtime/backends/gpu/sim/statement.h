// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What lies between the parser and the decoder: the operands of one statement
// with their names resolved, and the kernel that is being built.
#ifndef EE_GPU_SIM_STATEMENT_H
#define EE_GPU_SIM_STATEMENT_H

#include "lexer.h"
#include "program.h"

#include <unordered_map>
#include <vector>

namespace ee::gpu {

struct Argument {
  enum Kind : uint8_t {
    Register,
    Predicate,
    Immediate, // also the address of a variable
    Address,   // [base + displacement]
    Parameter, // [parameter + displacement]
    Vector,
    Label,
    Sink // _
  };
  Kind kind = Sink;
  Ref ref;                // Register, Address
  PredicateRef predicate; // Predicate
  uint64_t value = 0;     // Immediate
  int64_t displacement = 0;
  std::string_view name; // as written
  std::vector<Argument> elements;
  PredicateRef second; // of d|p
  bool hasSecond = false;
};

struct Statement {
  std::string_view opcode;
  std::vector<Argument> arguments;
  Instruction base; // guard, line, location, text
};

/// A kernel and the tables that only its parser needs.
class KernelBuilder {
public:
  explicit KernelBuilder(Kernel &kernel);

  /// A place in the constant file all lanes of which hold `value`.
  Ref constant(uint64_t value, bool wide);
  Ref newRegister(bool wide);
  uint32_t newPredicate() { return kernel.predicates++; }
  /// A branch to `label` from the instruction that is decoded next.
  void branchTo(std::string_view label, uint32_t line) {
    branches.push_back({kernel.code.size(), std::string(label), line});
  }
  void tableAt(std::string_view label, uint32_t line) {
    tableUses.push_back({kernel.code.size(), std::string(label), line});
  }
  void defineLabel(std::string_view label, uint32_t line);
  void defineTable(std::string_view label, std::vector<std::string> targets) {
    tables[std::string(label)] = std::move(targets);
  }
  /// Gives branches their targets; throws where a label is not defined.
  void resolve();

  Kernel &kernel;

private:
  struct Use {
    size_t instruction;
    std::string label;
    uint32_t line;
  };
  int32_t target(const std::string &label, uint32_t line) const;

  std::unordered_map<uint64_t, Ref> narrow, wide;
  std::unordered_map<std::string, int32_t> labels;
  std::unordered_map<std::string, std::vector<std::string>> tables;
  std::vector<Use> branches, tableUses;
};

/// Appends the instruction of `statement`; throws PtxError where it is not one
/// that the simulator knows.
void decode(KernelBuilder &builder, const Statement &statement);

/// Registers that every kernel has; the first of the register file, in this
/// order, 4 bytes a lane. Predicates 0 and 1 are false and true.
enum Special : uint32_t {
  TidX,
  TidY,
  TidZ,
  CtaX,
  CtaY,
  CtaZ,
  NtidX,
  NtidY,
  NtidZ,
  NctaX,
  NctaY,
  NctaZ,
  LaneId,
  WarpId,
  WarpCount,
  MaskEq,
  MaskLt,
  MaskLe,
  MaskGt,
  MaskGe,
  SpecialCount
};
inline Ref specialRegister(uint32_t index) { return {index * 4 * warpLanes}; }

} // namespace ee::gpu

#endif // EE_GPU_SIM_STATEMENT_H

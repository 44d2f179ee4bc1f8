// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements to instructions. Register instructions are found in the table of
// lane ops by their full opcode; the others take their modifiers one by one,
// and one that is left over is an error: nothing of PTX is ignored.
#ifndef EE_GPU_SIM_DECODE_H
#define EE_GPU_SIM_DECODE_H

#include "statement.h"

#include <initializer_list>

namespace ee::gpu {

class Decoder {
public:
  Decoder(KernelBuilder &builder, const Statement &statement);
  void run();

private:
  [[noreturn]] void fail(const std::string &why) const;
  /// Removes a modifier of the opcode and says whether it was there.
  bool take(std::string_view modifier);
  void takeAny(std::initializer_list<std::string_view> modifiers);
  template <typename T>
  T takeOne(std::initializer_list<std::pair<std::string_view, T>> choices,
            const char *what);
  void takeType();
  void takeSpace();
  void takeOrder();
  void done() const;

  const Argument &argument(size_t index) const;
  void count(size_t operands) const;
  Ref value(const Argument &from, bool wide) const;
  Ref result(const Argument &to, bool wide) const;
  /// A register of either width, for what memory holds; or a number.
  Ref element(const Argument &from, bool written) const;
  PredicateRef predicate(const Argument &from) const;
  PredicateRef predicateResult(const Argument &to) const;
  void address(const Argument &from, Ref &base, int64_t &displacement) const;
  uint32_t fragments(const Argument &from, size_t expected, bool written);
  void push();

  void laneOp();
  void move();
  void convertAddress();
  void load();
  void store();
  void loadParameter();
  void vectorOrElement(const Argument &from, bool written);
  void atomic(bool hasResult);
  void fence();
  void branch();
  void branchIndexed();
  void end();
  void trap();
  void barrier();
  void shuffle();
  void vote();
  void reduce();
  void activeMask();
  void loadMatrix();
  void multiplyMatrix();
  void copyAsync();
  void ignored();
  void call();

  KernelBuilder &builder;
  const Statement &statement;
  std::vector<std::string_view> parts; // the opcode, split at its dots
  Instruction out;
};

template <typename T>
T Decoder::takeOne(
    std::initializer_list<std::pair<std::string_view, T>> choices,
    const char *what) {
  for (auto &[name, value] : choices)
    if (take(name))
      return value;
  std::string names;
  for (auto &[name, value] : choices)
    names += (names.empty() ? "." : ", .") + std::string(name);
  fail(std::string(what) + " is missing: one of " + names + " is expected");
}

} // namespace ee::gpu

#endif // EE_GPU_SIM_DECODE_H

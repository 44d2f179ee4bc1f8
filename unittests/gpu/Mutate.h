// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Faults planted into PTX text, one at a time: what a test of kernels is worth
// is how many of them it finds.
#ifndef EE_UNITTESTS_GPU_MUTATE_H
#define EE_UNITTESTS_GPU_MUTATE_H

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ee::gpu {

struct Mutation {
  std::string kind;  // "barrier deleted", ...
  uint32_t line = 0; // from 1
  std::string before, after;
};

/// All faults that fit the lines of `ptx`, in the order of the lines:
///   barrier deleted      bar.sync, bar.warp.sync
///   offset shifted       a load or store one element further
///   offset misaligned    by half an element
///   shuffle lane         another lane, by the lowest bit
///   predicate flipped    @%p becomes @!%p and back
///   comparison           lt and le, gt and ge, eq and ne trade places
///   store deleted        st, red
std::vector<Mutation> mutationsOf(std::string_view ptx);

/// `ptx` with the fault in it.
std::string mutated(std::string_view ptx, const Mutation &mutation);

/// What became of the mutants of a kind.
struct Kills {
  int mutants = 0;
  int reported = 0; // by a check or a fault of the simulator
  int wrong = 0;    // not reported, but the output differs
  int survived() const { return mutants - reported - wrong; }
};

enum class Fate { Survived, Reported, Wrong };

struct MutantTable {
  std::map<std::string, Kills> kinds;
  std::vector<Mutation> survivors;

  void add(const Mutation &mutation, Fate fate);
  Kills total() const;
  /// Aligned columns, one kind a line, and the sum.
  std::string text() const;
};

} // namespace ee::gpu

#endif // EE_UNITTESTS_GPU_MUTATE_H

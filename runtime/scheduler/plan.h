// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the scheduler derives from a depth program once, before any step.
#ifndef EE_SCHEDULER_PLAN_H
#define EE_SCHEDULER_PLAN_H

#include "ee/manifest.h"

#include <cstdint>
#include <vector>

namespace ee {

class ProgramPlan {
public:
  explicit ProgramPlan(const Manifest &manifest);

  /// Nodes in the order in which a wave visits them: predecessors first, so
  /// that rows that took different ways meet again before they go on.
  const std::vector<int32_t> &order() const { return visitOrder; }

  /// Where a row in catch-up waits next, at or behind `node`: a stage from
  /// which on KV is still to be stored, or -1 when nothing is owed any more.
  int32_t nextDebt(int32_t node) const;

  /// Whether a row in catch-up that waits at `node` still stores KV of `level`.
  bool owes(int32_t node, int32_t level) const {
    return levelAhead[size_t(node) * levels + size_t(level)];
  }
  /// Whether a row at `node` still stores KV of any level.
  bool kvAhead(int32_t node) const { return anyAhead[size_t(node)]; }

  /// Launches that one row may see in a wave before the program counts as not
  /// ending.
  int64_t maxVisits() const { return visitLimit; }

private:
  const Manifest &manifest;
  size_t levels;
  std::vector<int32_t> visitOrder;
  std::vector<char> levelAhead; // [node][level]
  std::vector<char> anyAhead;   // [node]
  int64_t visitLimit;
};

} // namespace ee

#endif // EE_SCHEDULER_PLAN_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Orders the nodes of a depth program and follows its catch-up chains.
#include "plan.h"

#include <algorithm>
#include <array>

namespace ee {
namespace {

/// Edges in the order in which depth-first search takes them. The search's
/// reversed finishing order visits what was taken last first: fills before the
/// stages that read them, staying rows before leaving ones.
std::array<int32_t, 4> edges(const ProgramNode &node) {
  if (node.kind == NodeKind::Emit)
    return {-1, -1, -1, -1}; // the token loop
  return {node.next, node.yes, node.no, node.owes};
}

/// Where a row in catch-up goes behind `node`; -1 where its way ends.
int32_t chainNext(const ProgramNode &node) {
  switch (node.kind) {
  case NodeKind::Branch:
    return node.no;
  case NodeKind::Run:
  case NodeKind::Embed:
    return node.next;
  default:
    return -1;
  }
}

} // namespace

ProgramPlan::ProgramPlan(const Manifest &manifest)
    : manifest(manifest), levels(manifest.levels.size()) {
  const auto &program = manifest.program;
  std::vector<char> seen(program.size(), 0);
  std::vector<std::pair<int32_t, size_t>> stack{{manifest.embed, 0}};
  seen[size_t(manifest.embed)] = 1;
  while (!stack.empty()) {
    auto &[node, edge] = stack.back();
    if (edge == 4) {
      visitOrder.push_back(node);
      stack.pop_back();
      continue;
    }
    int32_t target = edges(program[size_t(node)])[edge++];
    if (target >= 0 && !seen[size_t(target)]) {
      seen[size_t(target)] = 1;
      stack.emplace_back(target, 0);
    }
  }
  std::reverse(visitOrder.begin(), visitOrder.end());

  // Chains may go round (a recursion): iterate to the fixed point.
  levelAhead.assign(program.size() * levels, 0);
  anyAhead.assign(program.size(), 0);
  bool changed = true;
  auto raise = [&](char &flag) {
    changed |= !flag;
    flag = 1;
  };
  while (changed) {
    changed = false;
    for (size_t i = program.size(); i-- > 0;) {
      const ProgramNode &node = program[i];
      if (node.appends >= 0) {
        raise(levelAhead[i * levels + size_t(node.appends)]);
        raise(anyAhead[i]);
      }
      int32_t next = chainNext(node);
      if (next < 0)
        continue;
      for (size_t l = 0; l < levels; ++l)
        if (levelAhead[size_t(next) * levels + l])
          raise(levelAhead[i * levels + l]);
      if (anyAhead[size_t(next)])
        raise(anyAhead[i]);
    }
  }
  visitLimit = int64_t(program.size()) * (manifest.model.layers + 1);
}

int32_t ProgramPlan::nextDebt(int32_t node) const {
  while (node >= 0 && anyAhead[size_t(node)]) {
    const ProgramNode &n = manifest.program[size_t(node)];
    if (n.kind == NodeKind::Run)
      return node;
    node = chainNext(n);
  }
  return -1;
}

} // namespace ee

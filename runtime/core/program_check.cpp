// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The scheduler walks the program without further tests, so what could make it
// loop forever or lose a row is refused here.
#include "program_check.h"

#include <array>
#include <vector>

namespace ee {
namespace {

/// Edges of a node inside one token; the edge from emit to embed is the token
/// loop and is left out.
std::array<int32_t, 4> edgesWithinToken(const ProgramNode &node) {
  if (node.kind == NodeKind::Emit)
    return {-1, -1, -1, -1};
  return {node.next, node.yes, node.no, node.owes};
}

class CycleCheck {
public:
  CycleCheck(const Field &field, const Manifest &m)
      : field(field), m(m), state(m.program.size(), 0) {}

  /// Depth-first over edges out of nodes that launch nothing; explicit stack,
  /// because the list may be long.
  void run() {
    for (size_t start = 0; start < m.program.size(); ++start)
      if (state[start] == 0)
        visit(int32_t(start));
  }

private:
  void visit(int32_t start) {
    std::vector<std::pair<int32_t, int>> stack{{start, 0}};
    state[size_t(start)] = 1;
    while (!stack.empty()) {
      auto &[node, edge] = stack.back();
      const ProgramNode &n = m.program[size_t(node)];
      if (edge == 4 || n.kind == NodeKind::Run) {
        state[size_t(node)] = 2;
        stack.pop_back();
        continue;
      }
      int32_t target = edgesWithinToken(n)[size_t(edge++)];
      if (target < 0 || state[size_t(target)] == 2)
        continue;
      if (state[size_t(target)] == 1)
        field.fail("has a cycle through node " + std::to_string(target) +
                   " that runs no stage");
      state[size_t(target)] = 1;
      stack.emplace_back(target, 0);
    }
  }

  const Field &field;
  const Manifest &m;
  std::vector<char> state;
};

/// A node that no row can come to is a fault of whoever wrote the program.
void checkReached(const Field &field, const Manifest &m, int32_t embed) {
  std::vector<char> seen(m.program.size(), 0);
  std::vector<int32_t> pending{embed};
  seen[size_t(embed)] = 1;
  while (!pending.empty()) {
    const ProgramNode &node = m.program[size_t(pending.back())];
    pending.pop_back();
    for (int32_t target : {node.next, node.yes, node.no, node.owes})
      if (target >= 0 && !seen[size_t(target)]) {
        seen[size_t(target)] = 1;
        pending.push_back(target);
      }
  }
  for (size_t i = 0; i < seen.size(); ++i)
    if (!seen[i])
      field.fail("has node " + std::to_string(i) + " (" +
                 nodeKindName(m.program[i].kind) +
                 ") that cannot be reached from embed");
}

} // namespace

int32_t checkProgram(const Field &field, const Manifest &m) {
  int32_t embed = -1;
  bool emits = false;
  for (size_t i = 0; i < m.program.size(); ++i) {
    const ProgramNode &node = m.program[i];
    std::string name =
        "has node " + std::to_string(i) + " (" + nodeKindName(node.kind) + ") ";
    if (node.kind == NodeKind::Embed) {
      if (embed >= 0)
        field.fail(name + "beside another embed node, one is accepted");
      embed = int32_t(i);
    }
    for (int32_t target : edgesWithinToken(node))
      if (target >= 0 && m.program[size_t(target)].kind == NodeKind::Embed)
        field.fail(name + "that leads to embed, only emit may");
    if (node.kind == NodeKind::Emit) {
      emits = true;
      NodeKind next = m.program[size_t(node.next)].kind;
      if (next != NodeKind::Embed && next != NodeKind::End)
        field.fail(name + "that leads to neither embed nor end");
    }
    if (node.kind == NodeKind::Branch) {
      KvFill fill = m.exits[size_t(node.site)].fill;
      if (fill != KvFill::Exact && fill != KvFill::Propagate)
        field.fail(name + "with fill " + kvFillName(fill) +
                   ", accepted are exact and propagate");
    }
  }
  if (embed < 0)
    field.fail("has no embed node");
  if (!emits)
    field.fail("has no emit node");
  CycleCheck(field, m).run();
  checkReached(field, m, embed);
  return embed;
}

} // namespace ee

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
  return {node.next, node.leave, node.stay, node.owes};
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
      bool launches = n.kind == NodeKind::Stage || n.kind == NodeKind::Sample;
      if (edge == 4 || launches) {
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
    if (node.kind == NodeKind::Decide) {
      KvFill fill = m.exits[size_t(node.exit)].fill;
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
  return embed;
}

} // namespace ee

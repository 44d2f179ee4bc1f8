// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Walks from a model's result back to its rows.

#include "MainPath.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

SmallVector<Value> adaptive::raising::mainOperands(Operation *op) {
  if (auto exit = dyn_cast<ExitPointOpInterface>(op))
    return {exit.getRestValue()};
  return SmallVector<Value>(op->getOperands());
}

llvm::SetVector<Operation *> adaptive::raising::mainPath(ModelOp model) {
  llvm::SetVector<Operation *> order;
  struct Frame {
    Operation *op;
    SmallVector<Value> operands;
    size_t next = 0;
  };
  Operation *root = model.getBody().front().getTerminator();
  std::vector<Frame> stack = {{root, mainOperands(root)}};
  llvm::SmallPtrSet<Operation *, 32> started = {root};
  while (!stack.empty()) {
    Frame &frame = stack.back();
    if (frame.next == frame.operands.size()) {
      order.insert(frame.op);
      stack.pop_back();
      continue;
    }
    Operation *operand = frame.operands[frame.next++].getDefiningOp();
    if (operand && !isa<UseOp>(operand) && started.insert(operand).second)
      stack.push_back({operand, mainOperands(operand)});
  }
  return order;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Buffers for a straight line of ops. Values die at their last use; a result
// takes the memory of an operand it is computed from element by element, or
// of the column it is stored to, when nobody reads that memory any more.

#include "LinePlanner.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;

int64_t cpu::rowBytesOf(Type type) {
  auto rows = cast<RankedTensorType>(type);
  return 4 * (rows.getRank() == 2 ? rows.getDimSize(1) : 1);
}

bool cpu::sameBuffer(const RowBuffer &a, const RowBuffer &b) {
  return a.kind == b.kind && a.perRow == b.perRow && a.offset == b.offset &&
         a.stride == b.stride;
}

/// Operands whose element i is read before element i of the result is written
/// and not again: the result may take their memory.
static SmallVector<Value> inPlaceOperands(Operation *op) {
  SmallVector<Value> operands;
  if (auto linear = dyn_cast<LinearOp>(op))
    llvm::append_range(operands, linear.getExtras());
  else if (auto map = dyn_cast<MapOp>(op))
    llvm::append_range(operands, map.getInputs());
  else if (auto layers = dyn_cast<LayersOp>(op))
    operands.push_back(layers.getInput());
  else if (auto select = dyn_cast<SelectOp>(op))
    operands.assign({select.getTrueValue(), select.getFalseValue()});
  return operands;
}

void LinePlanner::number() {
  order.clear();
  int64_t index = 0;
  for (Operation &op : block)
    order[&op] = index++;
}

int64_t LinePlanner::lastUse(Value value) const {
  int64_t last = value.getDefiningOp() ? positionOf(value.getDefiningOp()) : -1;
  for (Operation *user : value.getUsers())
    last = std::max(last, positionOf(block.findAncestorOpInBlock(*user)));
  return last;
}

/// True when `op` may write `buffer`: every value in it is dead by then, or is
/// an operand that `op` may overwrite.
bool LinePlanner::canTake(const RowBuffer &buffer, Operation *op) const {
  SmallVector<Value> overwritable = inPlaceOperands(op);
  for (auto &[value, other] : plan.buffers) {
    if (!sameBuffer(buffer, other))
      continue;
    int64_t last = lastUse(value);
    if (last < positionOf(op))
      continue;
    bool onlyHere = last == positionOf(op) &&
                    llvm::is_contained(overwritable, value) &&
                    llvm::count(op->getOperands(), value) == 1;
    if (!onlyHere)
      return false;
  }
  return true;
}

/// Keeps the arena bytes at \p offset, which die at \p from, until \p until.
void LinePlanner::extend(int64_t offset, int64_t from, int64_t until) {
  for (Interval &interval : intervals)
    if (interval.offset == offset && interval.until == from)
      interval.until = until;
}

int64_t LinePlanner::allocate(int64_t bytes, int64_t from, int64_t until) {
  bytes = llvm::alignTo(bytes, 64);
  // First fit among the intervals that are alive at the same time.
  int64_t offset = base;
  bool moved = true;
  while (moved) {
    moved = false;
    for (const Interval &other : intervals)
      if (other.from <= until && from <= other.until &&
          other.offset < offset + bytes &&
          offset < other.offset + other.bytes) {
        offset = other.offset + other.bytes;
        moved = true;
      }
  }
  intervals.push_back({offset, bytes, from, until});
  plan.arenaPerRow = std::max(plan.arenaPerRow, offset + bytes);
  return offset;
}

void LinePlanner::run(std::function<KernelNeeds(Operation *)> needs) {
  number();
  // A result wants its column; so does the stream that feeds it.
  Operation *terminator = block.getTerminator();
  DenseMap<Value, RowBuffer> wanted;
  for (auto &[index, buffer] : targets) {
    Value value = terminator->getOperand(index);
    wanted.insert({value, buffer});
    while (Operation *op = value.getDefiningOp()) {
      if (auto layers = dyn_cast<LayersOp>(op))
        value = layers.getInput();
      else if (op->hasAttr(kPerLayer))
        value = cast<SelectOp>(op).getFalseValue();
      else
        break;
      wanted.insert({value, buffer});
    }
  }
  for (Operation &op : block.without_terminator()) {
    for (Value result : op.getResults()) {
      if (isa<KVType>(result.getType()) || isa<UseOp>(op))
        continue;
      // Restores rows of the stream where it is; nobody else reads the stream
      // before that.
      if (op.hasAttr(kPerLayer)) {
        RowBuffer stream =
            plan.buffers.lookup(cast<SelectOp>(op).getFalseValue());
        plan.buffers[result] = stream;
        if (stream.kind == RowBuffer::Arena)
          extend(stream.perRow, positionOf(&op), lastUse(result));
        continue;
      }
      auto want = wanted.find(result);
      if (want != wanted.end() && canTake(want->second, &op)) {
        plan.buffers[result] = want->second;
        continue;
      }
      RowBuffer chosen;
      bool found = false;
      for (Value operand : inPlaceOperands(&op)) {
        auto held = plan.buffers.find(operand);
        // A broadcast operand (one row for all) is no row buffer.
        if (!found && operand.getType() == result.getType() &&
            held != plan.buffers.end() &&
            held->second.kind == RowBuffer::Arena &&
            canTake(held->second, &op)) {
          chosen = held->second;
          found = true;
          extend(chosen.perRow, positionOf(&op), lastUse(result));
        }
      }
      if (!found) {
        int64_t bytes = rowBytesOf(result.getType());
        chosen.kind = RowBuffer::Arena;
        chosen.stride = bytes;
        chosen.perRow = allocate(bytes, positionOf(&op), lastUse(result));
      }
      plan.buffers[result] = chosen;
    }
    // Scratch is sized now that operands and results have their places.
    KernelNeeds need = needs(&op);
    plan.workerScratch = std::max(plan.workerScratch, need.workerScratch);
    int64_t at = positionOf(&op);
    if (need.scratchPerRow > 0) {
      RowBuffer scratch;
      scratch.stride = need.scratchPerRow;
      scratch.perRow = allocate(need.scratchPerRow, at, at);
      plan.scratch[&op] = scratch;
    }
    if (int64_t bytes = nested ? nested(&op) : 0)
      nestedAt[&op] = allocate(bytes, at, at);
  }
  insertCopies();
}

void LinePlanner::insertCopies() {
  Operation *terminator = block.getTerminator();
  // All sources are read into place before any column is overwritten only if no
  // copy writes what a later copy reads; columns are disjoint, so a source in a
  // column must move first.
  SmallVector<std::pair<Value, RowBuffer>> copies;
  for (auto &[index, target] : targets) {
    Value value = terminator->getOperand(index);
    auto held = plan.buffers.find(value);
    if (held == plan.buffers.end() || !sameBuffer(held->second, target))
      copies.push_back({value, target});
  }
  llvm::stable_sort(copies, [&](const auto &a, const auto &b) {
    return plan.buffers.lookup(a.first).kind == RowBuffer::RowStore &&
           plan.buffers.lookup(b.first).kind != RowBuffer::RowStore;
  });
  for (auto &[value, target] : copies) {
    OpBuilder builder(terminator);
    auto copy =
        CopyOp::create(builder, terminator->getLoc(), value.getType(), value);
    plan.buffers[copy.getResult()] = target;
  }
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Walks the depth program with the rows of a wave. Two rules keep the result
// equal to one sequence at a time: a debt moves only once its row has its token
// (both lives of a row share one slot of the row store), and a row enters a
// stage only when every earlier position of its sequence is stored at that
// level or comes along. Launches are recorded; the host waits for them where it
// must know what came out: at decisions, for tokens, for logits, at the end.
#include "scheduler.h"

#include <algorithm>
#include <bit>
#include <chrono>

namespace ee {

Expected<void> Scheduler::walk() {
  auto walked = walkNodes();
  if (!walked)
    deviceQueue->discard();
  return walked;
}

Expected<void> Scheduler::walkNodes() {
  bool progress = true;
  while (progress) {
    progress = false;
    for (int32_t node : plan.order()) {
      auto moved = visit(node);
      if (!moved)
        return moved.takeFailure();
      progress |= *moved;
    }
  }
  for (const SequenceSlot &slot : slots)
    if (slot.walking)
      return Failure{"the depth program stalls: rows wait for each other"};
  // What comes next writes columns and tables that the launches read.
  return sync();
}

/// Waits for what was launched; afterwards the mirrors say what came of it.
Expected<void> Scheduler::sync() {
  listsUsed = 0;
  if (!deviceQueue->launched())
    return {};
  rows.download();
  return deviceQueue->sync();
}

Expected<bool> Scheduler::visit(int32_t index) {
  const ProgramNode &node = manifest.program[size_t(index)];
  if (node.kind == NodeKind::Run)
    return visitRun(index);
  if (walkers[size_t(index)].empty())
    return false;
  switch (node.kind) {
  case NodeKind::Branch:
    if (auto ok = visitBranch(index); !ok)
      return ok.takeFailure();
    break;
  case NodeKind::Filter:
    visitFilter(index);
    break;
  case NodeKind::Emit:
    if (auto ok = visitEmit(index); !ok)
      return ok.takeFailure();
    break;
  case NodeKind::Embed:
    for (int32_t row : walkers[size_t(index)])
      arrive(row, node.next);
    walkers[size_t(index)].clear();
    break;
  case NodeKind::End:
    if (auto ok = visitEnd(index); !ok)
      return ok.takeFailure();
    break;
  case NodeKind::Run: // above: debts may wait where no row walks
    break;
  }
  return true;
}

void Scheduler::arrive(int32_t row, int32_t node) {
  walkers[size_t(node)].push_back(row);
}

/// The row has done all it does for its token. What it owes may move now, which
/// writes columns: nothing launched may still read them.
void Scheduler::finishWalk(int32_t index) {
  Row &row = rows[index];
  row.walking = false;
  --slots[size_t(row.sequence)].walking;
  if (row.debtNode < 0) {
    rows.give(index);
    return;
  }
  rows.startDebt(index, row.token);
}

/// True while an earlier position of the sequence must still be stored at the
/// level of this stage and cannot come along. A stage without a level holds
/// rows back too, for debts that wait there: they would miss their ride.
bool Scheduler::blocked(int32_t index, int32_t node, int32_t level) const {
  const Row &row = rows[index];
  if (slots[size_t(row.sequence)].debts == 0 ||
      (level < 0 && debts[size_t(node)].empty()))
    return false;
  for (const std::vector<int32_t> &waiting : debts)
    for (int32_t other : waiting) {
      const Row &debt = rows[other];
      if (debt.sequence == row.sequence && debt.position < row.position &&
          (debt.walking || debt.fill) &&
          (level < 0 ? debt.debtNode == node : plan.owes(debt.debtNode, level)))
        return true;
    }
  return false;
}

/// Adds to the launch the debts at `node` that may go: propagations, debts of
/// sequences that are due, and those that have a later row to ride with.
void Scheduler::collectDebts(int32_t node) {
  std::vector<int32_t> &waiting = debts[size_t(node)];
  if (waiting.empty())
    return;
  std::fill(riding.begin(), riding.end(), -1);
  for (int32_t index : launchRows) {
    int64_t &highest = riding[size_t(rows[index].sequence)];
    highest = std::max<int64_t>(highest, rows[index].position);
  }
  std::erase_if(waiting, [&](int32_t index) {
    const Row &row = rows[index];
    bool goes = !row.walking &&
                (row.fill || row.position < riding[size_t(row.sequence)] ||
                 row.position < slots[size_t(row.sequence)].dueBelow);
    if (goes)
      launchRows.push_back(index);
    return goes;
  });
}

Expected<bool> Scheduler::visitRun(int32_t index) {
  const ProgramNode &node = manifest.program[size_t(index)];
  std::vector<int32_t> &waiting = walkers[size_t(index)];
  if (waiting.empty() && debts[size_t(index)].empty())
    return false;
  launchRows.clear();
  std::erase_if(waiting, [&](int32_t row) {
    if (blocked(row, index, node.appends))
      return false;
    launchRows.push_back(row);
    return true;
  });
  collectDebts(index);
  if (launchRows.empty())
    return false;
  std::sort(launchRows.begin(), launchRows.end(), [&](int32_t a, int32_t b) {
    const Row &x = rows[a], &y = rows[b];
    return x.sequence != y.sequence ? x.sequence < y.sequence
                                    : x.position < y.position;
  });
  int64_t count = int64_t(launchRows.size());
  int64_t most = launchLimit(node.stage);
  for (int64_t begin = 0; begin < count; begin += most) {
    int64_t end = std::min(count, begin + most);
    if (auto ok = launchRange(index, begin, end, most); !ok)
      return ok.takeFailure();
  }
  for (int32_t row : launchRows) {
    if (node.appends >= 0)
      ++appended[size_t(rows[row].sequence) * manifest.levels.size() +
                 size_t(node.appends)];
    if (rows[row].walking)
      arrive(row, node.next);
    else
      settleDebt(row, node.next);
  }
  return true;
}

/// Moves a debt on to where it is owed next, or ends it.
void Scheduler::settleDebt(int32_t index, int32_t node) {
  Row &row = rows[index];
  row.debtNode = plan.nextDebt(node);
  if (row.debtNode >= 0) {
    debts[size_t(row.debtNode)].push_back(index);
    return;
  }
  --slots[size_t(row.sequence)].debts;
  rows.give(index);
}

/// Launches rows [begin, end) of `launchRows`. What a launch looks like depends
/// on its bucket only, a power of two or the most rows there can be.
Expected<void> Scheduler::launchRange(int32_t index, int64_t begin, int64_t end,
                                      int64_t limit) {
  const ProgramNode &node = manifest.program[size_t(index)];
  if (auto ok = count(index, node.stage, begin, end); !ok)
    return ok;
  int64_t bucket =
      std::min(limit, int64_t(std::bit_ceil(uint64_t(end - begin))));
  if (auto ok = launch(node.stage, begin, end, bucket); !ok)
    return ok;
  if (auto ok = takeLogits(node, begin, end, bucket); !ok)
    return ok;
  return takeColumns(index, begin, end);
}

Expected<void> Scheduler::count(int32_t node, int32_t stageIndex, int64_t begin,
                                int64_t end) {
  StageCounters &counter = stats.stages[size_t(stageIndex)];
  ++counter.launches;
  for (int64_t i = begin; i < end; ++i) {
    Row &row = rows[launchRows[size_t(i)]];
    ++(row.walking ? counter.rows : counter.catchUpRows);
    if (++row.visits > plan.maxVisits())
      return Failure{"the depth program does not end: a row ran " +
                     std::to_string(row.visits) + " stages for one token"};
  }
  if (!options.observer)
    return {};
  observed.clear();
  for (int64_t i = begin; i < end; ++i) {
    const Row &row = rows[launchRows[size_t(i)]];
    observed.push_back({slots[size_t(row.sequence)].record->ticket,
                        row.position, !row.walking});
  }
  options.observer->onLaunch(node, stageIndex, observed);
  return {};
}

Expected<void> Scheduler::launch(int32_t stageIndex, int64_t begin, int64_t end,
                                 int64_t bucket) {
  int64_t entries = listLine + (bucket + listLine - 1) / listLine * listLine;
  if (deviceQueue->full() || listsUsed + entries > lists.size())
    if (auto ok = sync(); !ok)
      return ok;
  int32_t *list = lists.write(listsUsed, listLine + (end - begin));
  list[0] = int32_t(end - begin);
  for (int64_t i = begin; i < end; ++i) {
    list[listLine + i - begin] = launchRows[size_t(i)];
    rows.launched(launchRows[size_t(i)]);
  }
  Launch call;
  call.stage = stageIndex;
  ee_stage_args &args = call.args;
  args.rows = deviceField<const int32_t>(lists.address(listsUsed + listLine));
  args.n_active = deviceField<const int32_t>(lists.address(listsUsed));
  args.max_rows = bucket;
  args.row_store = deviceField<uint8_t>(rows.store());
  args.columns = rows.columns();
  args.policies = deviceField<const ee_policy>(policies.address());
  args.samplers = deviceField<const ee_sampler>(samplers.address());
  args.kv = deviceField<const ee_kv_level>(cache.view());
  args.arena = deviceField<uint8_t>(arena.address());
  args.worker_scratch = deviceField<uint8_t>(scratch.address());
  args.worker_scratch_bytes = scratchPerWorker;
  listsUsed += entries;
  deviceQueue->launch(call);
  return {};
}

/// Looks at the logits of the launch just recorded; the arena holds them only
/// until the next one. A criterion may need the logits of its exit, so that
/// they come out of the stage before the decision and the sampling stage behind
/// it only hands the id on; they count for the rows that leave.
Expected<void> Scheduler::takeLogits(const ProgramNode &node, int64_t begin,
                                     int64_t end, int64_t bucket) {
  const auto &output = manifest.stages[size_t(node.stage)].logits;
  if (!output)
    return {};
  bool decides = manifest.program[size_t(node.next)].kind == NodeKind::Branch;
  auto wanted = [&](int32_t index) {
    const Row &row = rows[index];
    return row.walking && row.emits &&
           (watchesLogits() ||
            slots[size_t(row.sequence)].record->request.logitHash);
  };
  auto first = launchRows.begin() + begin, last = launchRows.begin() + end;
  if (std::none_of(first, last, wanted))
    return {};
  uint64_t rowBytes = uint64_t(output->width) * 4;
  DeviceAddress base =
      arena.address() + uint64_t(output->perRowOffset * bucket);
  int64_t most = int64_t(logits.bytes() / rowBytes);
  for (int64_t from = begin; from < end; from += most) {
    int64_t to = std::min(end, from + most);
    deviceQueue->download(logits.data(),
                          base + uint64_t(from - begin) * rowBytes,
                          uint64_t(to - from) * rowBytes);
    rows.download();
    listsUsed = 0;
    if (auto ok = deviceQueue->sync(); !ok)
      return ok;
    auto values = reinterpret_cast<const float *>(logits.data());
    for (int64_t i = from; i < to; ++i) {
      int32_t index = launchRows[size_t(i)];
      if (wanted(index) && (!decides || rows.leaves(index)))
        handLogits(index, {values + (i - from) * output->width,
                           size_t(output->width)});
    }
  }
  return {};
}

/// Shows the observer what the launch made of its rows; `observed` names them.
Expected<void> Scheduler::takeColumns(int32_t index, int64_t begin,
                                      int64_t end) {
  int32_t stage = manifest.program[size_t(index)].stage;
  if (!options.observer || !options.observer->wantsColumns(stage))
    return {};
  uint64_t rowBytes = uint64_t(manifest.rowBytes);
  int64_t most = rowBytes ? int64_t(columnsSeen.bytes() / rowBytes) : end;
  for (int64_t from = begin; from < end; from += most) {
    int64_t to = std::min(end, from + most);
    for (int64_t i = from; i < to; ++i)
      deviceQueue->download(
          columnsSeen.data() + uint64_t(i - from) * rowBytes,
          rows.store() + uint64_t(launchRows[size_t(i)]) * rowBytes, rowBytes);
    rows.download();
    listsUsed = 0;
    if (auto ok = deviceQueue->sync(); !ok)
      return ok;
    options.observer->onColumns(
        index, stage,
        std::span(observed).subspan(size_t(from - begin), size_t(to - from)),
        {columnsSeen.data(), size_t(to - from) * rowBytes});
  }
  return {};
}

void Scheduler::handLogits(int32_t index, std::span<const float> values) {
  Row &row = rows[index];
  const Record &record = *slots[size_t(row.sequence)].record;
  if (record.request.logitHash)
    row.logitHash = hashLogits(values);
  if (watchesLogits())
    options.observer->onLogits(record.ticket, row.position, values);
}

Expected<void> Scheduler::visitBranch(int32_t index) {
  if (auto ok = sync(); !ok)
    return ok;
  const ProgramNode &node = manifest.program[size_t(index)];
  moving.assign(walkers[size_t(index)].begin(), walkers[size_t(index)].end());
  walkers[size_t(index)].clear();
  for (int32_t row : moving) {
    if (rows.leaves(row))
      leave(row, node);
    else
      arrive(row, node.no);
  }
  return {};
}

void Scheduler::leave(int32_t index, const ProgramNode &node) {
  Row &row = rows[index];
  SequenceSlot &slot = slots[size_t(row.sequence)];
  row.exit = node.site;
  slot.record->exitAt[size_t(row.position)] = node.site;
  row.debtNode = plan.nextDebt(node.owes);
  if (row.debtNode >= 0) {
    row.fill = manifest.exits[size_t(node.site)].fill == KvFill::Propagate;
    ++slot.debts;
    debts[size_t(row.debtNode)].push_back(index);
  }
  // Nobody looks at what a silent row would compute on its way out.
  if (!row.emits && !plan.kvAhead(node.yes))
    finishWalk(index);
  else
    arrive(index, node.yes);
}

void Scheduler::visitFilter(int32_t index) {
  const ProgramNode &node = manifest.program[size_t(index)];
  moving.assign(walkers[size_t(index)].begin(), walkers[size_t(index)].end());
  walkers[size_t(index)].clear();
  for (int32_t row : moving) {
    bool passes = !(node.flags & EE_ROW_EMITS) || rows[row].emits;
    arrive(row, passes ? node.yes : node.no);
  }
}

Expected<void> Scheduler::visitEnd(int32_t index) {
  // A row that ends here may have marked its exit in its depth, or owe.
  if (!manifest.exits.empty())
    if (auto ok = sync(); !ok)
      return ok;
  moving.assign(walkers[size_t(index)].begin(), walkers[size_t(index)].end());
  walkers[size_t(index)].clear();
  for (int32_t row : moving) {
    if (rows[row].emits)
      return Failure{"the depth program ends a row before its token"};
    Record &record = *slots[size_t(rows[row].sequence)].record;
    int32_t exit = exitOf(row);
    record.exitAt[size_t(rows[row].position)] =
        exit >= 0 ? exit : int32_t(EE_SCRIPT_FULL);
    finishWalk(row);
  }
  return {};
}

/// The exit at which a row left. A lowering that runs all rows through all
/// layers marks only the depth.
int32_t Scheduler::exitOf(int32_t index) const {
  if (rows[index].exit >= 0)
    return rows[index].exit;
  if (manifest.exits.empty())
    return -1;
  int32_t depth = rows.depth(index);
  if (depth < manifest.model.layers)
    for (size_t i = 0; i < manifest.exits.size(); ++i)
      if (manifest.exits[i].depth == depth)
        return int32_t(i);
  return -1;
}

Expected<void> Scheduler::visitEmit(int32_t index) {
  if (auto ok = sync(); !ok)
    return ok;
  moving.assign(walkers[size_t(index)].begin(), walkers[size_t(index)].end());
  walkers[size_t(index)].clear();
  for (int32_t row : moving) {
    int32_t token = rows.token(row);
    if (token < 0 || token >= manifest.model.vocab)
      return Failure{"the compiled model sampled id " + std::to_string(token) +
                     ", outside of its vocabulary of " +
                     std::to_string(manifest.model.vocab)};
    emit(row);
    finishWalk(row);
  }
  return {};
}

void Scheduler::emit(int32_t index) {
  Row &row = rows[index];
  SequenceSlot &slot = slots[size_t(row.sequence)];
  Record &record = *slot.record;
  Emission emission;
  emission.ticket = record.ticket;
  emission.position = row.position;
  emission.token = rows.token(index);
  emission.depth = rows.depth(index);
  emission.exit = exitOf(index);
  emission.generated = record.request.maxNewTokens > 0 &&
                       row.position == int64_t(record.tokens.size()) - 1;
  emission.criteria = rows.criteria(index).first(manifest.exits.size());
  if (emission.generated) {
    record.exitAt[size_t(row.position)] =
        emission.exit >= 0 ? emission.exit : int32_t(EE_SCRIPT_FULL);
    deliver(record, row, emission);
  }
  if (options.observer)
    options.observer->onEmission(emission);
}

/// Hands a token to its sequence, the forced one where there is one, and sees
/// whether that ends it.
void Scheduler::deliver(Record &record, const Row &row, Emission &emission) {
  RequestStatus &status = record.status;
  int32_t &token = emission.token;
  if (status.ids.size() < record.request.forced.size())
    token = record.request.forced[status.ids.size()];
  status.ids.push_back(token);
  status.exitDepth.push_back(emission.depth);
  status.exitIndex.push_back(emission.exit);
  if (record.request.logitHash)
    status.logitHash.push_back(row.logitHash);
  record.tokens.push_back(token);
  status.lastToken = std::chrono::duration<double>(
                         std::chrono::steady_clock::now().time_since_epoch())
                         .count();
  if (status.ids.size() == 1)
    status.firstToken = status.lastToken;
  const std::vector<int32_t> &eos = record.request.eos;
  bool stop = std::find(eos.begin(), eos.end(), token) != eos.end();
  if (stop || int64_t(status.ids.size()) == record.request.maxNewTokens) {
    status.finish = stop ? FinishReason::Stop : FinishReason::Length;
    slots[size_t(record.slot)].finishing = true;
  }
}

} // namespace ee

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Requests, admission, preemption, and the frame of a wave.
#include "scheduler.h"

#include "ee/checked.h"

#include <algorithm>
#include <cassert>
#include <chrono>

namespace ee {

/// Room for a few full launches between two waits.
int64_t Scheduler::listEntries(const SessionOptions &options) {
  return 4 * (options.maxRows + 2 * listLine);
}

Scheduler::Scheduler(const Manifest &manifest, const SessionOptions &options,
                     std::unique_ptr<DeviceQueue> queue, KvCache cache,
                     RowTable rows)
    : manifest(manifest), options(options), plan(manifest),
      deviceQueue(std::move(queue)), cache(std::move(cache)),
      rows(std::move(rows)) {
  size_t sequences = size_t(options.maxSequences);
  size_t rowSlots = size_t(this->rows.slots());
  slots.resize(sequences);
  MirrorBlock &mirrors = deviceQueue->mirrors();
  policies = mirrors.take<ee_policy>(int64_t(options.policies.size()));
  std::copy(options.policies.begin(), options.policies.end(),
            policies.write(0, policies.size()));
  samplers = mirrors.take<ee_sampler>(options.maxSequences);
  lists = mirrors.take<int32_t>(listEntries(options));
  appended.resize(sequences * manifest.levels.size());
  walkers.resize(manifest.program.size());
  debts.resize(manifest.program.size());
  for (size_t i = 0; i < manifest.program.size(); ++i) {
    walkers[i].reserve(size_t(options.maxRows));
    NodeKind kind = manifest.program[i].kind;
    if (kind == NodeKind::Run)
      debts[i].reserve(rowSlots);
  }
  wishes.reserve(sequences * std::max<size_t>(1, manifest.levels.size()));
  byAge.reserve(sequences);
  launchRows.reserve(rowSlots);
  moving.reserve(rowSlots);
  observed.reserve(rowSlots);
  riding.resize(sequences);
  stats.stages.resize(manifest.stages.size());
  for (const ExitEntry &exit : manifest.exits)
    replay |= exit.fill == KvFill::Propagate;
}

static Expected<void> checkOptions(const SessionOptions &options,
                                   const Manifest &manifest) {
  auto range = [](const char *name, int64_t value, int64_t min,
                  int64_t max) -> Expected<void> {
    if (value >= min && value <= max)
      return {};
    return Failure{std::string(name) + " is " + std::to_string(value) +
                   ", accepted are " + std::to_string(min) + " to " +
                   std::to_string(max)};
  };
  struct {
    const char *name;
    int64_t value, min, max;
  } ranges[] = {
      {"the number of sequences", options.maxSequences, 1, 4096},
      {"the number of rows", options.maxRows, 1, 1 << 16},
      {"the chunk", options.chunk, 1, 1 << 16},
      {"the length", options.maxLength, 1, manifest.model.maxPosition},
      {"the number of KV pages", options.kvPages, 0, INT32_MAX},
      {"the debt cap", options.debtCap, 0, 4096},
      {"the rows of a sampling launch", options.sampleRows, 1, 1 << 16}};
  for (auto &[name, value, min, max] : ranges)
    if (auto ok = range(name, value, min, max); !ok)
      return ok;
  if (options.maxRows < options.maxSequences)
    return Failure{"the number of rows (" + std::to_string(options.maxRows) +
                   ") must be at least the number of sequences (" +
                   std::to_string(options.maxSequences) + ")"};
  return {};
}

Expected<std::unique_ptr<Scheduler>>
Scheduler::create(const Manifest &manifest, Device &device,
                  const SessionOptions &given) {
  SessionOptions options = given;
  if (options.maxLength == 0)
    options.maxLength = manifest.model.maxPosition;
  if (auto ok = checkOptions(options, manifest); !ok)
    return ok.takeFailure();
  if (options.policies.empty())
    options.policies.push_back(defaultPolicy(manifest).record);

  KvOptions kv;
  kv.sequences = options.maxSequences;
  kv.maxPositions = options.maxLength;
  kv.shuffleSeed = options.shuffleSeed;
  kv.clearPages = options.completeKv;
  int64_t perSequence =
      (options.maxLength + manifest.pagePositions - 1) / manifest.pagePositions;
  kv.pages =
      options.kvPages ? options.kvPages : perSequence * options.maxSequences;
  // Between waves a sequence holds at most `debtCap` debts.
  int64_t rowSlots = options.maxRows + options.maxSequences * options.debtCap;
  auto tables = KvCache::mirrorBytes(manifest, kv);
  if (!tables)
    return tables.takeFailure();
  auto queue = DeviceQueue::create(
      device,
      *tables + RowTable::mirrorBytes(rowSlots) +
          MirrorBlock::bytesOf<ee_policy>(int64_t(options.policies.size())) +
          MirrorBlock::bytesOf<ee_sampler>(options.maxSequences) +
          MirrorBlock::bytesOf<int32_t>(listEntries(options)));
  if (!queue)
    return queue.takeFailure();
  auto cache = KvCache::create(**queue, manifest, kv);
  if (!cache)
    return cache.takeFailure();
  auto rows = RowTable::create(**queue, manifest.rowBytes, rowSlots);
  if (!rows)
    return rows.takeFailure();
  std::unique_ptr<Scheduler> result(
      new Scheduler(manifest, options, std::move(*queue), std::move(*cache),
                    std::move(*rows)));
  if (auto ok = result->allocate(); !ok)
    return ok.takeFailure();
  return result;
}

/// Rows of one launch of a stage, at most. What a stage says bounds the arena;
/// the session may want less.
int64_t Scheduler::launchLimit(int32_t stage) const {
  auto most = manifest.stages[size_t(stage)].maxRows;
  return most ? std::min({int64_t(*most), options.sampleRows, options.maxRows})
              : options.maxRows;
}

/// One arena for all stages: the largest need decides. No bucket is above the
/// most rows that a launch of the stage may have.
Expected<void> Scheduler::allocate() {
  std::vector<int64_t> mostRows(manifest.stages.size(), 0);
  for (const ProgramNode &node : manifest.program) {
    if (node.stage < 0)
      continue;
    mostRows[size_t(node.stage)] = launchLimit(node.stage);
  }
  int64_t arenaBytes = 0;
  for (size_t i = 0; i < manifest.stages.size(); ++i) {
    const StageEntry &stage = manifest.stages[i];
    auto rowsBytes = checkedMul(stage.arenaPerRow, mostRows[i]);
    auto total =
        rowsBytes ? checkedAdd(*rowsBytes, stage.arenaBase) : std::nullopt;
    if (!total)
      return Failure{"the arena of stage " + inQuotes(stage.name) +
                     " would be too large: fewer rows would be accepted"};
    arenaBytes = std::max(arenaBytes, *total);
    scratchPerWorker = std::max(scratchPerWorker, stage.workerScratch);
  }
  auto buffer = deviceQueue->device().allocate(uint64_t(arenaBytes));
  if (!buffer)
    return Failure{"arena: " + buffer.error()};
  arena = std::move(*buffer);
  auto workers = checkedMul(scratchPerWorker, deviceQueue->device().workers());
  if (!workers)
    return Failure{"worker scratch would be too large"};
  auto scratchBuffer = deviceQueue->device().allocate(uint64_t(*workers));
  if (!scratchBuffer)
    return Failure{"worker scratch: " + scratchBuffer.error()};
  scratch = std::move(*scratchBuffer);
  if (auto ok = allocateLogits(); !ok)
    return ok;
  return allocateColumns();
}

/// Room for what an observer wants to see of the row store.
Expected<void> Scheduler::allocateColumns() {
  bool wanted = false;
  for (int32_t stage = 0; stage < int32_t(manifest.stages.size()); ++stage)
    wanted |= options.observer && options.observer->wantsColumns(stage);
  if (!wanted)
    return {};
  auto bytes = checkedMul(manifest.rowBytes, options.maxRows);
  if (!bytes)
    return Failure{"columns would be too large: fewer rows would be accepted"};
  auto buffer = deviceQueue->device().allocateHost(uint64_t(*bytes));
  if (!buffer)
    return Failure{"columns: " + buffer.error()};
  columnsSeen = std::move(*buffer);
  return {};
}

/// Where the host looks at logits, a few rows at a time.
Expected<void> Scheduler::allocateLogits() {
  for (const StageEntry &stage : manifest.stages)
    if (stage.logits)
      logitsBytes = std::max(logitsBytes, stage.logits->width * 4);
  auto bytes =
      checkedMul(logitsBytes, std::min(options.sampleRows, options.maxRows));
  if (!bytes)
    return Failure{"logits would be too large: fewer rows of a sampling launch "
                   "would be accepted"};
  auto buffer = deviceQueue->device().allocateHost(uint64_t(*bytes));
  if (!buffer)
    return Failure{"logits: " + buffer.error()};
  logits = std::move(*buffer);
  return {};
}

uint64_t Scheduler::bufferBytes() const {
  return arena.bytes() + scratch.bytes() + rows.bytes() + cache.bytes() +
         deviceQueue->bytes() + logits.bytes();
}

static double now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static Expected<void> checkScript(const char *name,
                                  const std::vector<int32_t> &script,
                                  size_t exits) {
  for (size_t i = 0; i < script.size(); ++i)
    if (script[i] < EE_SCRIPT_FULL || script[i] >= int32_t(exits))
      return Failure{std::string(name) + "[" + std::to_string(i) + "] is " +
                     std::to_string(script[i]) +
                     ", accepted are -2 (full depth), -1 (by criterion) and " +
                     "exits below " + std::to_string(exits)};
  return {};
}

Expected<void> Scheduler::checkRequest(const Request &request) const {
  if (request.prompt.empty())
    return Failure{"the prompt has no tokens, at least one is needed"};
  for (int32_t id : request.prompt)
    if (id < 0 || id >= manifest.model.vocab)
      return Failure{"prompt id " + std::to_string(id) +
                     " is outside of the vocabulary of " +
                     std::to_string(manifest.model.vocab)};
  for (int32_t id : request.forced)
    if (id < 0 || id >= manifest.model.vocab)
      return Failure{"forced id " + std::to_string(id) +
                     " is outside of the vocabulary of " +
                     std::to_string(manifest.model.vocab)};
  if (request.maxNewTokens < 0)
    return Failure{"the number of new tokens must not be negative"};
  int64_t length = int64_t(request.prompt.size());
  // The last token is handed out and never fed.
  int64_t fed = length;
  if (request.maxNewTokens > 0) {
    auto total = checkedAdd(length, request.maxNewTokens - 1);
    fed = total ? *total : INT64_MAX;
  }
  if (fed > options.maxLength)
    return Failure{"prompt and new tokens need " + std::to_string(fed) +
                   " positions, the session has " +
                   std::to_string(options.maxLength)};
  if (cache.pagesFor(fed) > cache.totalPages())
    return Failure{
        "prompt and new tokens need " + std::to_string(cache.pagesFor(fed)) +
        " KV pages, the session has " + std::to_string(cache.totalPages())};
  if (request.policy < 0 || request.policy >= int32_t(options.policies.size()))
    return Failure{"policy " + std::to_string(request.policy) +
                   " does not exist, there are " +
                   std::to_string(options.policies.size())};
  if (auto ok = checkScript("script", request.script, manifest.exits.size());
      !ok)
    return ok;
  if (auto ok = checkScript("prompt script", request.promptScript,
                            manifest.exits.size());
      !ok)
    return ok;
  const ee_sampler &s = request.sampler;
  if (!(s.temperature >= 0) || s.temperature > 1e6f)
    return Failure{"temperature must be a number from 0 (greedy) to 1e6"};
  if (!(s.top_p > 0 && s.top_p <= 1))
    return Failure{"top-p must be above 0 and at most 1"};
  if (!(s.min_p >= 0 && s.min_p < 1))
    return Failure{"min-p must be at least 0 and below 1"};
  if (s.top_k < 0)
    return Failure{"top-k must not be negative (0 = off)"};
  return {};
}

Expected<Ticket> Scheduler::submit(Request request) {
  if (auto ok = checkRequest(request); !ok)
    return ok.takeFailure();
  auto record = std::make_unique<Record>();
  record->ticket = ++lastTicket;
  record->request = std::move(request);
  const Request &r = record->request;
  size_t fresh = size_t(r.maxNewTokens);
  record->tokens.reserve(r.prompt.size() + fresh);
  record->tokens = r.prompt;
  record->tokens.reserve(r.prompt.size() + fresh);
  record->exitAt.assign(r.prompt.size() + fresh, EE_SCRIPT_FULL);
  record->status.ids.reserve(fresh);
  record->status.exitDepth.reserve(fresh);
  record->status.exitIndex.reserve(fresh);
  if (r.logitHash)
    record->status.logitHash.reserve(fresh);
  record->status.submitted = now();
  Record *pointer = record.get();
  records.emplace(pointer->ticket, std::move(record));
  // Steps allocate nothing: a queue that may hold every request now.
  queue.reserve(records.size());
  enqueue(pointer);
  return pointer->ticket;
}

void Scheduler::enqueue(Record *record) {
  record->status.state = RequestState::Queued;
  auto place = std::find_if(queue.begin(), queue.end(), [&](Record *other) {
    return other->ticket > record->ticket;
  });
  queue.insert(place, record);
}

const Record *Scheduler::find(Ticket ticket) const {
  auto it = records.find(ticket);
  return it == records.end() ? nullptr : it->second.get();
}

/// Gives free slots to waiting requests, oldest first, while the tokens they
/// start with fit beside what runs.
void Scheduler::admit() {
  size_t levels = manifest.levels.size();
  wishes.clear();
  size_t free = 0;
  while (!queue.empty()) {
    while (free < slots.size() && slots[free].record)
      ++free;
    if (free == slots.size())
      return;
    Record *record = queue.front();
    for (size_t level = 0; level < levels; ++level)
      wishes.push_back(
          {int32_t(free), int32_t(level), int64_t(record->tokens.size())});
    if (!cache.fits(wishes))
      return;
    queue.erase(queue.begin());
    SequenceSlot &slot = slots[free];
    slot = SequenceSlot();
    slot.record = record;
    record->slot = int32_t(free);
    record->status.state = RequestState::Running;
    samplers.set(int64_t(free), record->request.sampler);
    std::fill_n(appended.begin() + std::ptrdiff_t(free * levels), levels, 0);
  }
}

/// Decides how many rows each sequence gets: first the generating sequences,
/// then chunks of prompts, oldest first. False when there is no row at all.
bool Scheduler::planRows() {
  byAge.clear();
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i].waveRows = 0;
    if (slots[i].record && !slots[i].kept)
      byAge.push_back(int32_t(i));
  }
  std::sort(byAge.begin(), byAge.end(), [&](int32_t a, int32_t b) {
    return slots[size_t(a)].record->ticket < slots[size_t(b)].record->ticket;
  });
  int64_t room = options.maxRows;
  for (int32_t i : byAge) {
    SequenceSlot &slot = slots[size_t(i)];
    if (int64_t(slot.record->tokens.size()) - slot.next == 1) {
      slot.waveRows = 1;
      --room;
    }
  }
  for (int32_t i : byAge) {
    SequenceSlot &slot = slots[size_t(i)];
    if (slot.waveRows)
      continue;
    const Request &request = slot.record->request;
    int64_t chunk = options.policies[size_t(request.policy)].chunk;
    if (chunk <= 0)
      chunk = options.chunk;
    int64_t left = int64_t(slot.record->tokens.size()) - slot.next;
    slot.waveRows = std::min({left, chunk, room});
    room -= slot.waveRows;
  }
  return !byAge.empty();
}

/// Reserves pages for all rows at all levels: an upper bound, trimmed after
/// the wave. Where they do not fit, the youngest sequence waits.
Expected<void> Scheduler::reservePages() {
  while (true) {
    wishes.clear();
    for (int32_t i : byAge) {
      const SequenceSlot &slot = slots[size_t(i)];
      for (size_t level = 0; level < manifest.levels.size(); ++level)
        wishes.push_back({i, int32_t(level), slot.next + slot.waveRows});
    }
    if (cache.fits(wishes)) {
      cache.reserve(wishes);
      return {};
    }
    if (byAge.size() <= 1)
      return Failure{"finished requests hold the KV pages that a running one "
                     "needs: release them or give the session more pages"};
    suspend(byAge.back());
    byAge.pop_back();
  }
}

/// Takes a running sequence off its slot; it resumes from its tokens.
void Scheduler::suspend(int32_t index) {
  SequenceSlot &slot = slots[size_t(index)];
  Record *record = slot.record;
  dropDebts(index);
  cache.release(index);
  slot = SequenceSlot();
  record->slot = -1;
  ++record->status.preemptions;
  ++stats.preemptions;
  enqueue(record);
}

void Scheduler::startRow(int32_t index, const SequenceSlot &slot,
                         int64_t position) {
  const Record &record = *slot.record;
  const Request &request = record.request;
  Row &row = rows[index];
  int64_t promptLength = int64_t(request.prompt.size());
  int64_t last = int64_t(record.tokens.size()) - 1;
  int64_t generated = position - (promptLength - 1); // the token it computes
  bool enabled;
  int32_t script = EE_SCRIPT_NONE;
  if (position >= promptLength) {
    enabled = true;
  } else {
    enabled = request.promptEnabled.empty()
                  ? request.promptExits
                  : position < int64_t(request.promptEnabled.size()) &&
                        request.promptEnabled[size_t(position)];
    if (position < int64_t(request.promptScript.size()))
      script = request.promptScript[size_t(position)];
  }
  if (generated >= 0 && generated < int64_t(request.script.size()))
    script = request.script[size_t(generated)];
  // A row that ran before a preemption: under exact fill its KV is that of the
  // full model whatever exit it took; under propagation it must take it again.
  bool ranBefore = last >= promptLength && position < last;
  if (ranBefore && replay)
    script = record.exitAt[size_t(position)];
  else if (ranBefore)
    script = EE_SCRIPT_FULL;
  if (script == EE_SCRIPT_FULL)
    enabled = false;
  else if (script >= 0)
    enabled = true;
  row.emits = (position == last && request.maxNewTokens > 0) ||
              (request.emitAllRows && position < promptLength &&
               position >= record.emittedBelow);
  row.token = record.tokens[size_t(position)];
  row.position = int32_t(position);
  row.sequence = record.slot;
  row.walking = true;
  uint32_t flags =
      (enabled ? EE_ROW_EXIT_ENABLED : 0u) | (row.emits ? EE_ROW_EMITS : 0u);
  rows.start(index, {row.token, row.sequence, row.position, request.policy,
                     script, flags});
}

void Scheduler::makeRows() {
  for (int32_t i : byAge) {
    SequenceSlot &slot = slots[size_t(i)];
    slot.waited = slot.waveRows ? 0 : slot.waited + 1;
    stats.longestWait = std::max(stats.longestWait, slot.waited);
    for (int64_t n = 0; n < slot.waveRows; ++n) {
      int32_t row = rows.take();
      startRow(row, slot, slot.next + n);
      ++slot.walking;
      arrive(row, manifest.embed);
    }
    slot.next += slot.waveRows;
    // A request that emits nothing ends with its last prompt row.
    if (slot.record->request.maxNewTokens == 0 &&
        slot.next == int64_t(slot.record->tokens.size()))
      slot.finishing = true;
  }
}

bool Scheduler::work() const {
  if (!queue.empty())
    return true;
  return std::any_of(slots.begin(), slots.end(), [](const SequenceSlot &slot) {
    return slot.record && !slot.kept;
  });
}

Expected<bool> Scheduler::step() {
  admit();
  if (!planRows()) {
    if (!queue.empty())
      return Failure{"finished requests hold the slots or KV pages that a "
                     "waiting one needs: release them"};
    return false;
  }
  if (auto ok = reservePages(); !ok)
    return ok.takeFailure();
  makeRows();
  ++stats.waves;
  if (auto ok = walk(); !ok)
    return ok.takeFailure();
  // Debts beyond the cap, and those that must be complete at the end, are paid
  // now; debts at the cap with the next launch, whoever else is in it.
  bool flush = false;
  for (SequenceSlot &slot : slots)
    if (slot.record && slot.debts > 0 &&
        (slot.debts > options.debtCap ||
         (slot.finishing && options.completeKv)))
      flush = (slot.dueBelow = slot.next) > 0;
  if (flush)
    if (auto ok = walk(); !ok)
      return ok.takeFailure();
  if (auto ok = checkCoverage(); !ok)
    return ok.takeFailure();
  finishWave();
  return work();
}

/// Every position fed is either stored at a level or owed to it, and what is
/// stored has no hole: the invariant that makes every later KV read covered.
Expected<void> Scheduler::checkCoverage() {
  size_t levels = manifest.levels.size();
  for (size_t i = 0; i < slots.size(); ++i) {
    const SequenceSlot &slot = slots[i];
    if (!slot.record || slot.kept)
      continue;
    for (size_t level = 0; level < levels; ++level) {
      int64_t owed = 0, stored = appended[i * levels + level];
      bool tail = true;
      for (size_t n = 0; slot.debts && n < debts.size(); ++n)
        for (int32_t row : debts[n])
          if (rows[row].sequence == int32_t(i) &&
              plan.owes(rows[row].debtNode, int32_t(level))) {
            ++owed;
            tail &= rows[row].position >= stored;
          }
      if (stored + owed != slot.next || !tail)
        return Failure{"the depth program leaves a hole in KV level " +
                       inQuotes(manifest.levels[level].name) + " (" +
                       std::to_string(stored) + " stored and " +
                       std::to_string(owed) + " owed of " +
                       std::to_string(slot.next) + " positions)"};
    }
  }
  return {};
}

void Scheduler::finishWave() {
  size_t levels = manifest.levels.size();
  for (size_t i = 0; i < slots.size(); ++i) {
    SequenceSlot &slot = slots[i];
    if (!slot.record || slot.kept)
      continue;
    for (size_t level = 0; level < levels; ++level)
      cache.commit(int32_t(i), int32_t(level), appended[i * levels + level]);
    slot.record->emittedBelow = std::max(slot.record->emittedBelow, slot.next);
    bool full = slot.debts > 0 && slot.debts >= options.debtCap;
    slot.dueBelow = full ? slot.next : 0;
    if (slot.finishing)
      endSequence(int32_t(i));
  }
}

/// Forgets what a sequence still owes: nobody will read it.
void Scheduler::dropDebts(int32_t index) {
  SequenceSlot &slot = slots[size_t(index)];
  if (slot.debts == 0)
    return;
  for (std::vector<int32_t> &waiting : debts)
    std::erase_if(waiting, [&](int32_t row) {
      if (rows[row].sequence != index)
        return false;
      rows.give(row);
      return true;
    });
  stats.droppedDebts += slot.debts;
  slot.debts = 0;
}

void Scheduler::endSequence(int32_t index) {
  SequenceSlot &slot = slots[size_t(index)];
  Record &record = *slot.record;
  dropDebts(index);
  record.status.state = RequestState::Finished;
  if (record.status.finish == FinishReason::None)
    record.status.finish = FinishReason::Length;
  if (record.request.keepKv) {
    slot.kept = true;
    return;
  }
  cache.release(index);
  record.slot = -1;
  slot = SequenceSlot();
}

void Scheduler::cancel(Ticket ticket) {
  auto it = records.find(ticket);
  if (it == records.end())
    return;
  Record &record = *it->second;
  if (record.status.state == RequestState::Finished ||
      record.status.state == RequestState::Cancelled)
    return;
  std::erase(queue, &record);
  if (record.slot >= 0) {
    dropDebts(record.slot);
    cache.release(record.slot);
    slots[size_t(record.slot)] = SequenceSlot();
    record.slot = -1;
  }
  record.status.state = RequestState::Cancelled;
  record.status.finish = FinishReason::Cancelled;
}

void Scheduler::preempt(Ticket ticket) {
  auto it = records.find(ticket);
  if (it != records.end() && it->second->slot >= 0 &&
      it->second->status.state == RequestState::Running)
    suspend(it->second->slot);
}

void Scheduler::releaseKv(Ticket ticket) {
  auto it = records.find(ticket);
  if (it == records.end() || it->second->slot < 0 ||
      !slots[size_t(it->second->slot)].kept)
    return;
  cache.release(it->second->slot);
  slots[size_t(it->second->slot)] = SequenceSlot();
  it->second->slot = -1;
}

void Scheduler::forget(Ticket ticket) {
  auto it = records.find(ticket);
  if (it == records.end() || it->second->status.state == RequestState::Queued ||
      it->second->status.state == RequestState::Running)
    return;
  releaseKv(ticket);
  records.erase(it);
}

} // namespace ee

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Continuous depth-grouped batching. A wave gathers rows (the next token of
// each generating sequence, chunks of prompts) and walks the depth program:
// rows queue at nodes, stages launch what waits, decisions split it, debts wait
// for a row of their sequence to ride with. Knows no model family, no layer
// count and no exit method.
#ifndef EE_SCHEDULER_SCHEDULER_H
#define EE_SCHEDULER_SCHEDULER_H

#include "core/device_queue.h"
#include "ee/session.h"
#include "kvcache/kvcache.h"
#include "plan.h"
#include "rows.h"

#include <memory>
#include <unordered_map>
#include <vector>

namespace ee {

/// A request and all that outlives a preemption of it.
struct Record {
  Ticket ticket = 0;
  Request request;
  RequestStatus status;
  std::vector<int32_t> tokens; ///< prompt, then what was generated
  /// Exit taken per position, for replay; EE_SCRIPT_FULL where none was.
  std::vector<int32_t> exitAt;
  int64_t emittedBelow = 0; ///< with emitAllRows: positions that emitted
  int32_t slot = -1;
};

/// A sequence slot: what a running request needs only while it runs.
struct SequenceSlot {
  Record *record = nullptr;
  int64_t next = 0;     ///< positions below were fed
  int64_t waveRows = 0; ///< rows planned for this wave
  int64_t walking = 0;  ///< rows on their way to a token
  int64_t debts = 0;    ///< rows that owe KV
  int64_t waited = 0;   ///< waves without a row
  /// Debts of positions below are paid without waiting for a ride.
  int64_t dueBelow = 0;
  bool finishing = false;
  bool kept = false; ///< finished, slot and KV held for the caller
};

class Scheduler {
public:
  static Expected<std::unique_ptr<Scheduler>>
  create(const Manifest &manifest, Device &device,
         const SessionOptions &options);

  Expected<Ticket> submit(Request request);
  const Record *find(Ticket ticket) const;
  Expected<bool> step();
  void cancel(Ticket ticket);
  void preempt(Ticket ticket);
  void forget(Ticket ticket);
  void releaseKv(Ticket ticket);

  const SessionCounters &counters() const { return stats; }
  const KvCache &kv() const { return cache; }
  /// Reads a page from the device.
  Expected<std::span<const uint8_t>> kvPage(int32_t slot, int32_t level,
                                            int64_t page) {
    return cache.page(slot, level, page);
  }
  /// How often the host waited for the device.
  int64_t waits() const { return deviceQueue->waits(); }
  uint64_t bufferBytes() const;

private:
  Scheduler(const Manifest &manifest, const SessionOptions &options,
            std::unique_ptr<DeviceQueue> deviceQueue, KvCache cache,
            RowTable rows);
  static int64_t listEntries(const SessionOptions &options);
  Expected<void> allocate();
  Expected<void> allocateLogits();
  Expected<void> allocateColumns();
  int64_t launchLimit(int32_t stage) const;

  // scheduler.cpp: requests, admission, preemption, the frame of a wave.
  Expected<void> checkRequest(const Request &request) const;
  void admit();
  bool planRows();
  Expected<void> reservePages();
  void makeRows();
  void startRow(int32_t row, const SequenceSlot &slot, int64_t position);
  void finishWave();
  Expected<void> checkCoverage();
  void suspend(int32_t slot);
  void endSequence(int32_t slot);
  void dropDebts(int32_t slot);
  void enqueue(Record *record);
  bool work() const;

  // wave.cpp: walking the program.
  Expected<void> walk();
  Expected<void> walkNodes();
  Expected<bool> visit(int32_t node);
  Expected<bool> visitRun(int32_t node);
  Expected<void> visitBranch(int32_t node);
  void visitFilter(int32_t node);
  Expected<void> visitEmit(int32_t node);
  Expected<void> visitEnd(int32_t node);
  void leave(int32_t row, const ProgramNode &node);
  bool blocked(int32_t row, int32_t node, int32_t level) const;
  void collectDebts(int32_t node);
  Expected<void> launchRange(int32_t node, int64_t begin, int64_t end,
                             int64_t limit);
  Expected<void> count(int32_t node, int32_t stage, int64_t begin, int64_t end);
  Expected<void> launch(int32_t stage, int64_t begin, int64_t end,
                        int64_t bucket);
  Expected<void> takeLogits(const ProgramNode &node, int64_t begin, int64_t end,
                            int64_t bucket);
  Expected<void> takeColumns(int32_t node, int64_t begin, int64_t end);
  void handLogits(int32_t row, std::span<const float> logits);
  bool watchesLogits() const {
    return options.observer && options.observer->wantsLogits();
  }
  Expected<void> sync();
  void arrive(int32_t row, int32_t node);
  void finishWalk(int32_t row);
  void settleDebt(int32_t row, int32_t node);
  int32_t exitOf(int32_t row) const;
  void emit(int32_t row);
  void deliver(Record &record, const Row &row, Emission &emission);

  const Manifest &manifest;
  SessionOptions options;
  ProgramPlan plan;
  std::unique_ptr<DeviceQueue> deviceQueue;
  KvCache cache;
  RowTable rows;
  SessionCounters stats;

  std::unordered_map<Ticket, std::unique_ptr<Record>> records;
  std::vector<Record *> queue; ///< waiting, by ticket
  std::vector<SequenceSlot> slots;
  Mirrored<ee_policy> policies;  ///< as in the options
  Mirrored<ee_sampler> samplers; ///< by slot
  Mirrored<int32_t> lists;       ///< per launch: n_active, then row slots
  static constexpr int64_t listLine = 16; ///< entries of a line of `lists`
  int64_t listsUsed = 0;                  ///< by launches since the last sync
  std::vector<int64_t> appended;          ///< [slot][level] positions stored
  std::vector<std::vector<int32_t>> walkers; ///< by node: rows that wait
  std::vector<std::vector<int32_t>> debts;   ///< by node: debts that wait
  std::vector<KvReservation> wishes;
  std::vector<int32_t> byAge;      ///< slots, scratch
  std::vector<int32_t> launchRows; ///< rows of the launch being made
  std::vector<int32_t> moving;     ///< rows leaving a node, scratch
  std::vector<LaunchRow> observed;
  std::vector<int64_t> riding; ///< by slot: highest walking position, scratch
  Buffer arena;
  Buffer scratch;
  HostBuffer columnsSeen;  ///< by an observer: of as many rows as a launch has
  HostBuffer logits;       ///< of as many rows as a sampling launch has
  int64_t logitsBytes = 0; ///< of one row
  int64_t scratchPerWorker = 0;
  bool replay = false; ///< resume replays exits instead of running in full
  Ticket lastTicket = 0;
};

} // namespace ee

#endif // EE_SCHEDULER_SCHEDULER_H

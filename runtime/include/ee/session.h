// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The public face of the runtime: submit requests, step, poll. A session serves
// many requests at once (continuous batching), each token at its own depth.
//
// One thread drives a session; kernels run on its thread team. A result never
// depends on what else the session serves, on the order of arrival, on chunk
// sizes, on where pages lie, or on preemption.
#ifndef EE_SESSION_H
#define EE_SESSION_H

#include "ee/abi.h"
#include "ee/artifact.h"
#include "ee/device.h"
#include "ee/policy.h"
#include "ee/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace ee {

using Ticket = uint64_t;

/// One row of a launch, as observers see it.
struct LaunchRow {
  Ticket ticket = 0;
  int64_t position = 0;
  bool catchUp = false;
  bool operator==(const LaunchRow &) const = default;
};

/// A token that came out of the model.
struct Emission {
  Ticket ticket = 0;
  int64_t position = 0;   ///< of the row that computed it
  int32_t token = 0;      ///< what the sequence takes: sampled, or forced
  int32_t depth = 0;      ///< unrolled layers run for it
  int32_t exit = -1;      ///< exit at which the row left, -1 = full depth
  bool generated = false; ///< false: a prompt row with `emitAllRows`
  std::span<const float> criteria; ///< by exit; NaN where not reached
};

/// Watches a session. Called from inside of `step`; must not call it back.
class SessionObserver {
public:
  virtual ~SessionObserver() = default;
  /// Whether `onLogits` is of use: logits come from the device one launch at a
  /// time, with a wait each.
  virtual bool wantsLogits() const { return true; }
  /// Logits of a row about to be emitted; the memory is reused afterwards.
  virtual void onLogits(Ticket, int64_t /*position*/,
                        std::span<const float> /*logits*/) {}
  virtual void onEmission(const Emission &) {}
  virtual void onLaunch(int32_t /*node*/, int32_t /*stage*/,
                        std::span<const LaunchRow>) {}
  /// True to see the row store behind the launches of a stage, which the
  /// session then waits for.
  virtual bool wantsColumns(int32_t /*stage*/) const { return false; }
  /// The columns of the launch's rows, one behind the other, `row_bytes` of the
  /// manifest each; the memory is reused afterwards.
  virtual void onColumns(int32_t /*node*/, int32_t /*stage*/,
                         std::span<const LaunchRow>,
                         std::span<const uint8_t> /*columns*/) {}
};

struct SessionOptions {
  int64_t threads = 1;
  /// Of the simulated GPU; see DeviceOptions.
  bool simCheck = false;
  uint32_t simSeed = 0;
  /// Requests that run at the same time; others queue.
  int64_t maxSequences = 16;
  /// Rows of a wave: one per generating sequence plus chunks of prompts.
  int64_t maxRows = 512;
  /// Most prompt rows of one sequence in a wave, unless its policy says.
  int64_t chunk = 64;
  /// Positions a sequence may have; 0 is the model's limit.
  int64_t maxLength = 0;
  /// Pages per KV level; 0 is enough for `maxSequences` full sequences.
  int64_t kvPages = 0;
  /// Not 0: pages are handed out in an order shuffled by this seed.
  uint64_t shuffleSeed = 0;
  /// A sequence that owes KV for this many rows pays without waiting for a
  /// row to ride with.
  int64_t debtCap = 6;
  /// Pay all debts before a sequence ends, and start pages cleared, so that
  /// the KV of all layers can be compared.
  bool completeKv = false;
  /// Rows of one launch of a stage that has a limit of its own (those that
  /// sample): the smaller one holds. Bounds the arena.
  int64_t sampleRows = 32;
  /// Records that requests choose from; empty means the manifest's seeds.
  std::vector<ee_policy> policies;
  SessionObserver *observer = nullptr;
};

struct Request {
  std::vector<int32_t> prompt; ///< not empty
  /// 0: run the prompt only (with `emitAllRows`, or to fill KV).
  int64_t maxNewTokens = 0;
  ee_sampler sampler = {0.0f, 1.0f, 0.0f, 0, 0};
  int32_t policy = 0;       ///< index into SessionOptions::policies
  std::vector<int32_t> eos; ///< ids that end the text
  /// EE_SCRIPT_* or an exit index per generated token; shorter lists leave
  /// the rest to the policy.
  std::vector<int32_t> script;
  /// Not empty: generated token i is forced[i] instead of what was sampled
  /// (teacher forcing, and equal traces for comparisons).
  std::vector<int32_t> forced;
  /// Like `script`, per prompt position.
  std::vector<int32_t> promptScript;
  /// Whether prompt rows may leave by criterion.
  bool promptExits = false;
  /// Not empty: says so for each prompt position instead.
  std::vector<uint8_t> promptEnabled;
  /// Every prompt row gives logits and a token to the observer.
  bool emitAllRows = false;
  /// Hash the logits of each generated token.
  bool logitHash = false;
  /// Keep slot and KV after the end until `releaseKv`.
  bool keepKv = false;
};

enum class RequestState { Queued, Running, Finished, Cancelled };
enum class FinishReason { None, Stop, Length, Cancelled };

struct RequestStatus {
  RequestState state = RequestState::Queued;
  FinishReason finish = FinishReason::None;
  std::vector<int32_t> ids;       ///< generated so far, the end token included
  std::vector<int32_t> exitDepth; ///< per generated token
  std::vector<int32_t> exitIndex; ///< per generated token, -1 = full depth
  std::vector<uint64_t> logitHash;
  /// Seconds of a steady clock: at submit, first token, last token.
  double submitted = 0, firstToken = 0, lastToken = 0;
  int64_t preemptions = 0;
};

struct StageCounters {
  int64_t launches = 0;
  int64_t rows = 0;        ///< rows that were not in catch-up
  int64_t catchUpRows = 0; ///< debts paid and KV filled
};

struct SessionCounters {
  int64_t waves = 0;
  std::vector<StageCounters> stages; ///< by stage index
  int64_t droppedDebts = 0;          ///< rows whose sequence ended first
  int64_t preemptions = 0;
  /// Most waves in a row in which a running sequence got no row.
  int64_t longestWait = 0;
};

class Session {
public:
  /// `artifact` is a loaded decoder and outlives the session, which runs on the
  /// device that it was loaded for. Takes all memory that steps will need.
  static Expected<std::unique_ptr<Session>>
  create(const Artifact &artifact, const SessionOptions &options);
  /// The same on a device of the caller.
  static Expected<std::unique_ptr<Session>>
  create(const Artifact &artifact, const SessionOptions &options,
         std::unique_ptr<Device> device);
  ~Session();

  /// Queues a request. Fails, naming the field, on one that could never be
  /// served.
  Expected<Ticket> submit(Request request);
  /// The state of a request, or null after `forget`. Valid until then.
  const RequestStatus *poll(Ticket ticket) const;
  /// Runs one wave. True while there is more to do.
  Expected<bool> step();
  /// Steps until nothing is left to do.
  Expected<void> drain();
  /// Ends a request early; its tokens so far stay.
  void cancel(Ticket ticket);
  /// Gives the pages of a running request back and queues it again. For tests;
  /// the session does so itself where pages run short.
  void preempt(Ticket ticket);
  /// Drops the record of a finished or cancelled request.
  void forget(Ticket ticket);

  const SessionCounters &counters() const;
  int64_t kvLevels() const;
  int64_t freePages(int32_t level) const;
  int64_t totalPages() const;
  /// Bytes of buffers taken at creation on the device and for it on the host,
  /// not counting weights.
  uint64_t bufferBytes() const;

  /// How often the session waited for its device so far.
  int64_t deviceWaits() const;

  /// KV of a running or kept request: stored positions of a level, and a page,
  /// read from the device and valid until the next call; empty where there is
  /// no such page.
  int64_t kvStored(Ticket ticket, int32_t level) const;
  Expected<std::span<const uint8_t>> kvPage(Ticket ticket, int32_t level,
                                            int64_t page);
  void releaseKv(Ticket ticket);

private:
  Session();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// The 64-bit hash of the bits of a row of logits (FNV-1a over 32-bit words).
uint64_t hashLogits(std::span<const float> logits);

} // namespace ee

#endif // EE_SESSION_H

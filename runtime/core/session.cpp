// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The public face over device and scheduler.
#include "ee/session.h"

#include "scheduler/scheduler.h"

#include <cstring>

namespace ee {

struct Session::Impl {
  std::unique_ptr<Device> device;
  std::unique_ptr<Scheduler> scheduler;
};

Session::Session() : impl(std::make_unique<Impl>()) {}
Session::~Session() = default;

static Expected<void> checkThreads(const SessionOptions &options) {
  if (options.threads >= 1 && options.threads <= 1024)
    return {};
  return Failure{"the number of threads is " + std::to_string(options.threads) +
                 ", accepted are 1 to 1024"};
}

Expected<std::unique_ptr<Session>>
Session::create(const Artifact &artifact, const SessionOptions &options) {
  if (!artifact.loadedFor())
    return Failure{inQuotes(artifact.path()) + " is not loaded"};
  if (auto ok = checkThreads(options); !ok)
    return ok.takeFailure();
  DeviceOptions deviceOptions;
  deviceOptions.threads = options.threads;
  deviceOptions.simCheck = options.simCheck;
  deviceOptions.simSeed = options.simSeed;
  auto device = createDevice(*artifact.loadedFor(), artifact, deviceOptions);
  if (!device)
    return device.takeFailure();
  return create(artifact, options, std::move(*device));
}

Expected<std::unique_ptr<Session>>
Session::create(const Artifact &artifact, const SessionOptions &options,
                std::unique_ptr<Device> device) {
  const Manifest &manifest = artifact.manifest();
  if (manifest.kind != ArtifactKind::Decoder)
    return Failure{inQuotes(artifact.path()) +
                   " is not a decoder: it cannot generate"};
  if (!artifact.loadedFor())
    return Failure{inQuotes(artifact.path()) + " is not loaded"};
  if (auto ok = checkThreads(options); !ok)
    return ok.takeFailure();
  std::unique_ptr<Session> session(new Session());
  session->impl->device = std::move(device);
  auto scheduler = Scheduler::create(manifest, *session->impl->device, options);
  if (!scheduler)
    return scheduler.takeFailure();
  session->impl->scheduler = std::move(*scheduler);
  return session;
}

Expected<Ticket> Session::submit(Request request) {
  return impl->scheduler->submit(std::move(request));
}

const RequestStatus *Session::poll(Ticket ticket) const {
  const Record *record = impl->scheduler->find(ticket);
  return record ? &record->status : nullptr;
}

Expected<bool> Session::step() { return impl->scheduler->step(); }

Expected<void> Session::drain() {
  while (true) {
    auto more = step();
    if (!more)
      return more.takeFailure();
    if (!*more)
      return {};
  }
}

void Session::cancel(Ticket ticket) { impl->scheduler->cancel(ticket); }
void Session::preempt(Ticket ticket) { impl->scheduler->preempt(ticket); }
void Session::forget(Ticket ticket) { impl->scheduler->forget(ticket); }
void Session::releaseKv(Ticket ticket) { impl->scheduler->releaseKv(ticket); }

const SessionCounters &Session::counters() const {
  return impl->scheduler->counters();
}

int64_t Session::kvLevels() const { return impl->scheduler->kv().levelCount(); }

int64_t Session::freePages(int32_t level) const {
  return impl->scheduler->kv().freePages(level);
}

int64_t Session::totalPages() const {
  return impl->scheduler->kv().totalPages();
}

uint64_t Session::bufferBytes() const { return impl->scheduler->bufferBytes(); }

int64_t Session::kvStored(Ticket ticket, int32_t level) const {
  const Record *record = impl->scheduler->find(ticket);
  if (!record || record->slot < 0)
    return 0;
  return impl->scheduler->kv().stored(record->slot, level);
}

int64_t Session::deviceWaits() const { return impl->scheduler->waits(); }

Expected<std::span<const uint8_t>> Session::kvPage(Ticket ticket, int32_t level,
                                                   int64_t page) {
  const Record *record = impl->scheduler->find(ticket);
  if (!record || record->slot < 0 ||
      page >= impl->scheduler->kv().pagesFor(kvStored(ticket, level)))
    return std::span<const uint8_t>();
  return impl->scheduler->kvPage(record->slot, level, page);
}

uint64_t hashLogits(std::span<const float> logits) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (float value : logits) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    hash = (hash ^ bits) * 0x100000001b3u;
  }
  return hash;
}

} // namespace ee

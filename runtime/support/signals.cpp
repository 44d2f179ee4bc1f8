// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Signals that end a process, held back; see ee/signals.h.
#include "ee/signals.h"

#include <csignal>
#include <iterator>

using namespace ee;

namespace {
constexpr int ending[] = {SIGINT, SIGTERM, SIGHUP};

int depth = 0;
struct sigaction before[std::size(ending)];
volatile std::sig_atomic_t caught = 0;
} // namespace

DeferSignals::DeferSignals() {
  if (depth++ != 0)
    return;
  caught = 0;
  struct sigaction action = {};
  action.sa_handler = [](int number) { caught = number; };
  for (size_t i = 0; i < std::size(ending); ++i) {
    ::sigaction(ending[i], nullptr, &before[i]);
    // A program started by nohup, say.
    if (before[i].sa_handler != SIG_IGN)
      ::sigaction(ending[i], &action, nullptr);
  }
}

DeferSignals::~DeferSignals() {
  if (--depth != 0)
    return;
  for (size_t i = 0; i < std::size(ending); ++i)
    ::sigaction(ending[i], &before[i], nullptr);
  if (int number = caught; number != 0) {
    caught = 0;
    ::raise(number);
  }
}

IgnoredSignals::IgnoredSignals() {
  for (size_t i = 0; i < std::size(ending); ++i) {
    struct sigaction action = {};
    if (::sigaction(ending[i], nullptr, &action) == 0 &&
        action.sa_handler == SIG_IGN)
      mask |= 1u << i;
  }
}

void IgnoredSignals::ignoreAgain() const {
  for (size_t i = 0; i < std::size(ending); ++i)
    if (mask >> i & 1)
      ::signal(ending[i], SIG_IGN);
}

bool DeferSignals::pending() { return caught != 0; }

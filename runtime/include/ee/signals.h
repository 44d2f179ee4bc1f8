// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Signals that end a process, held back while something half written exists.
#ifndef EE_SIGNALS_H
#define EE_SIGNALS_H

namespace ee {

/// While one lives, SIGINT, SIGTERM and SIGHUP only make `pending` true. When
/// the last one is gone, the handlers from before are back and the signal is
/// delivered to them: by default it ends the process, which then has left
/// nothing behind. Signals that are ignored stay ignored. Made and destroyed by
/// one thread at a time.
class DeferSignals {
public:
  DeferSignals();
  DeferSignals(const DeferSignals &) = delete;
  DeferSignals &operator=(const DeferSignals &) = delete;
  ~DeferSignals();

  /// Whether a signal waits: time to give up what is being written.
  static bool pending();
};

/// The signals of DeferSignals that are ignored now, as under nohup or in a
/// shell's background job. A library that handles them all the same can be set
/// right afterwards.
class IgnoredSignals {
public:
  IgnoredSignals();
  void ignoreAgain() const;

private:
  unsigned mask = 0;
};

} // namespace ee

#endif // EE_SIGNALS_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one way by which the tools write files that a user names.
#ifndef EE_OUTPUT_H
#define EE_OUTPUT_H

#include "ee/file.h"
#include "ee/result.h"
#include "ee/signals.h"

#include <memory>
#include <string>
#include <string_view>

namespace ee {

/// Writes all of `bytes` to an open descriptor. `shown` names it for messages.
Expected<void> writeAll(int descriptor, std::string_view bytes,
                        const std::string &shown);

/// An output under construction. Symbolic links are followed to what they name.
/// A regular file appears whole or not at all: it is written under a temporary
/// name beside its own and renamed, with the permissions of the file that it
/// replaces, else those of the umask. Anything else (device, pipe, an open
/// descriptor under /dev/fd or /dev/stdout) is opened and written in place.
/// Move only.
class Output {
public:
  /// Fails where `open` would, as far as that can be told beforehand. Changes
  /// nothing.
  static Expected<void> check(const std::string &path);
  static Expected<Output> open(const std::string &path);

  Output(Output &&other) noexcept { swap(other); }
  Output &operator=(Output &&other) noexcept {
    Output(std::move(other)).swap(*this);
    return *this;
  }
  /// Removes what was not committed.
  ~Output();

  /// For writers of other libraries; their errors are theirs to report.
  int descriptor() const { return fd.get(); }
  Expected<void> write(std::string_view bytes);
  /// Gives the file its name.
  Expected<void> commit();

private:
  Output() = default;
  void swap(Output &other) noexcept;
  Failure failure(const char *what, int error) const;
  Expected<void> create();

  std::string given, target, temporary; ///< no temporary: written in place
  std::unique_ptr<DeferSignals> deferred;
  Descriptor fd;
};

/// Opens, writes and commits.
Expected<void> writeOutput(const std::string &path, std::string_view bytes);

} // namespace ee

#endif // EE_OUTPUT_H

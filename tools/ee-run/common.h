// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the subcommands of ee-run share: flags, loading, reading and writing
// files.
#ifndef EE_RUN_COMMON_H
#define EE_RUN_COMMON_H

#include "ee/artifact.h"
#include "ee/policy.h"
#include "ee/session.h"
#include "ee/tokenizer.h"

#include <CLI/CLI.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// A user error: one line, exit code 1.
struct CommandError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The value, or CommandError with its text.
template <typename T> T need(ee::Expected<T> value) {
  if (!value)
    throw CommandError(value.error());
  return std::move(*value);
}
inline void need(ee::Expected<void> value) {
  if (!value)
    throw CommandError(value.error());
}

/// Flags about the model and how it is served.
struct ModelFlags {
  std::string artifact;
  std::string device = "cpu";
  bool simCheck = false;
  std::optional<uint32_t> simSeed;
  std::string cpuLevel;
  std::optional<int64_t> threads; ///< none: what the process may use
  std::string policyFile;
  bool forceFull = false;
  std::vector<std::string> thresholds;
  std::optional<int32_t> minDepth, maxDepth;
  int64_t chunk = 64;
  int64_t maxRows = 512;
  int64_t batch = 16;
  uint64_t shufflePages = 0;
  int64_t debtCap = 6;
  int64_t kvPages = 0;

  /// Where the model runs.
  void addDevice(CLI::App &command);
  /// `serving` adds the flags of a session beside those of the model.
  void add(CLI::App &command, bool serving = true);
};

/// An artifact ready to run.
struct Model {
  explicit Model(const ModelFlags &flags);
  /// Options of a session whose sequences have `length` positions at most;
  /// `requests` bounds how many run at once.
  ee::SessionOptions session(const ModelFlags &flags, int64_t length,
                             int64_t requests) const;
  /// The tokenizer, or an error that says what to use instead.
  const ee::Tokenizer &needTokenizer(const char *instead) const;
  std::vector<int32_t> encode(std::string_view text) const;

  ee::Artifact artifact;
  std::optional<ee::Tokenizer> tokenizer;
  ee::Policy policy;
};

/// Throws for an artifact of kind function, which has no tokens.
void needDecoder(const Model &model);

int64_t threadsOf(const ModelFlags &flags);

/// A text file given by the user.
std::string readTextFile(const std::string &path);
/// Writes an output that the user named (ee/output.h), behind what standard
/// output got so far.
void writeFile(const std::string &path, std::string_view contents);

/// Flushes standard output. The reason of a failure is kept for `checkStdout`,
/// so this may be called where nothing can be thrown.
void flushStdout();
/// Flushes, and throws when standard output could not take all it was given.
void checkStdout();
/// The lines of a text; a final newline starts none.
std::vector<std::string> splitLines(const std::string &text);
/// Integers separated by blanks, commas or brackets. `what` names the place.
std::vector<int32_t> parseIds(std::string_view text, const std::string &what);

/// Ctrl-C: asks long work to end. The second one ends the process.
void catchInterrupt();
bool interrupted();
/// Exit code after an interrupt, as shells expect it.
inline constexpr int interruptedCode = 130;

/// Peak resident memory of this process in bytes.
int64_t peakMemory();
double seconds();
/// Shows "text" on stderr in place when stderr is a terminal; "" clears it.
void progress(const std::string &text);

#endif // EE_RUN_COMMON_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A folder that appears whole or not at all.

#ifndef ADAPTIVE_LIB_ARTIFACT_OUTPUTFOLDER_H
#define ADAPTIVE_LIB_ARTIFACT_OUTPUTFOLDER_H

#include "ee/result.h"
#include "ee/sha256.h"
#include "ee/signals.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace adaptive {

/// Size and hash of a file that was written.
struct WrittenFile {
  std::string path; ///< relative to the folder
  uint64_t bytes = 0;
  std::string sha256;
};

/// A file under construction; hashes what it is given.
class OutputFile {
public:
  void write(llvm::StringRef bytes);
  uint64_t size() const { return bytes; }

private:
  friend class OutputFolder;
  std::string path;
  std::unique_ptr<llvm::raw_fd_ostream> stream;
  ee::Sha256 hash;
  uint64_t bytes = 0;
};

/// Fails once Ctrl-C (or what else ends a process) waits for the folder to go:
/// for loops that write. The folder checks by itself where it opens and closes.
ee::Expected<void> notInterrupted();

class OutputFolder {
public:
  /// Whether `create` can be expected to work; changes nothing.
  static ee::Expected<void> check(llvm::StringRef path);
  /// Makes a temporary folder beside `path`. `path` may be free or an artifact.
  static ee::Expected<OutputFolder> create(llvm::StringRef path);
  OutputFolder(OutputFolder &&) = default;
  /// Removes the temporary folder unless it was committed.
  ~OutputFolder();

  ee::Expected<OutputFile> open(llvm::StringRef relative);
  ee::Expected<WrittenFile> close(OutputFile file);
  ee::Expected<WrittenFile> write(llvm::StringRef relative,
                                  llvm::StringRef bytes);
  /// Renames the folder to its final name once `check`, which is given the
  /// path that it has until then, finds nothing wrong.
  using Check = std::function<ee::Expected<void>(const std::string &folder)>;
  ee::Expected<void> commit(const Check &check);

private:
  OutputFolder(std::string target, std::string temporary,
               std::unique_ptr<ee::DeferSignals> deferred)
      : target(std::move(target)), temporary(std::move(temporary)),
        deferred(std::move(deferred)) {}
  std::string target, temporary;
  /// Until the temporary folder is renamed or removed.
  std::unique_ptr<ee::DeferSignals> deferred;
};

} // namespace adaptive

#endif // ADAPTIVE_LIB_ARTIFACT_OUTPUTFOLDER_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A folder that appears whole or not at all.

#include "OutputFolder.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace adaptive;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

/// LLVM's own choice leaves others out whatever the umask says, but who
/// compiles need not be who serves.
static constexpr fs::perms umasked = fs::all_all;

static std::string join(llvm::StringRef folder, llvm::StringRef name) {
  llvm::SmallString<256> result(folder);
  path::append(result, name);
  return std::string(result);
}

/// The path without separators at its end.
static llvm::SmallString<256> trimmed(llvm::StringRef given) {
  llvm::SmallString<256> target(given);
  while (target.size() > 1 && path::is_separator(target.back()))
    target.pop_back();
  return target;
}

ee::Expected<void> OutputFolder::check(llvm::StringRef given) {
  llvm::SmallString<256> target = trimmed(given);
  if (fs::exists(target) && !fs::exists(join(target, "manifest.json")))
    return ee::Failure{ee::inQuotes(given.str()) +
                       " exists and is no artifact; it is not replaced"};
  llvm::SmallString<256> parent(path::parent_path(target));
  if (parent.empty())
    parent = ".";
  if (!fs::is_directory(parent))
    return ee::Failure{"the folder of " + ee::inQuotes(given.str()) +
                       " does not exist"};
  if (std::error_code error = fs::access(parent, fs::AccessMode::Write))
    return ee::Failure{"cannot write beside " + ee::inQuotes(given.str()) +
                       ": " + error.message()};
  return {};
}

ee::Expected<OutputFolder> OutputFolder::create(llvm::StringRef given) {
  if (auto ok = check(given); !ok)
    return ok.takeFailure();
  llvm::SmallString<256> target = trimmed(given);
  llvm::SmallString<256> temporary;
  auto deferred = std::make_unique<ee::DeferSignals>();
  fs::createUniquePath(target + ".partial-%%%%%%%%", temporary,
                       /*MakeAbsolute=*/false);
  if (std::error_code error =
          fs::create_directory(temporary, /*IgnoreExisting=*/false, umasked))
    return ee::Failure{"cannot write beside " + ee::inQuotes(given.str()) +
                       ": " + error.message()};
  return OutputFolder(std::string(target), std::string(temporary),
                      std::move(deferred));
}

OutputFolder::~OutputFolder() {
  if (!temporary.empty())
    (void)fs::remove_directories(temporary);
}

void OutputFile::write(llvm::StringRef data) {
  *stream << data;
  hash.update({reinterpret_cast<const std::byte *>(data.data()), data.size()});
  bytes += data.size();
}

ee::Expected<void> adaptive::notInterrupted() {
  if (ee::DeferSignals::pending())
    return ee::Failure{"interrupted"};
  return {};
}

ee::Expected<OutputFile> OutputFolder::open(llvm::StringRef relative) {
  if (auto ok = notInterrupted(); !ok)
    return ok.takeFailure();
  OutputFile file;
  file.path = relative.str();
  std::string full = join(temporary, relative);
  if (std::error_code error = fs::create_directories(
          path::parent_path(full), /*IgnoreExisting=*/true, umasked))
    return ee::Failure{"cannot write " + ee::inQuotes(relative.str()) + ": " +
                       error.message()};
  std::error_code error;
  file.stream = std::make_unique<llvm::raw_fd_ostream>(full, error);
  if (error)
    return ee::Failure{"cannot write " + ee::inQuotes(relative.str()) + ": " +
                       error.message()};
  return file;
}

ee::Expected<WrittenFile> OutputFolder::close(OutputFile file) {
  file.stream->close();
  if (file.stream->has_error()) {
    std::error_code error = file.stream->error();
    file.stream->clear_error();
    return ee::Failure{"cannot write " + ee::inQuotes(file.path) + ": " +
                       error.message()};
  }
  if (auto ok = notInterrupted(); !ok)
    return ok.takeFailure();
  auto hash = file.hash.finishHex();
  if (!hash)
    return hash.takeFailure();
  return WrittenFile{file.path, file.bytes, *hash};
}

ee::Expected<WrittenFile> OutputFolder::write(llvm::StringRef relative,
                                              llvm::StringRef bytes) {
  auto file = open(relative);
  if (!file)
    return file.takeFailure();
  file->write(bytes);
  return close(std::move(*file));
}

ee::Expected<void> OutputFolder::commit(const Check &check) {
  if (check)
    if (auto ok = check(temporary); !ok)
      return ok;
  // An artifact that stands there moves aside first: a folder cannot be renamed
  // over one that is not empty.
  std::string old;
  if (auto ok = notInterrupted(); !ok)
    return ok;
  if (fs::exists(target)) {
    old = temporary + ".old";
    if (std::error_code error = fs::rename(target, old))
      return ee::Failure{"cannot replace " + ee::inQuotes(target) + ": " +
                         error.message()};
  }
  if (std::error_code error = fs::rename(temporary, target)) {
    if (!old.empty())
      (void)fs::rename(old, target);
    return ee::Failure{"cannot write " + ee::inQuotes(target) + ": " +
                       error.message()};
  }
  temporary.clear();
  if (!old.empty())
    (void)fs::remove_directories(old);
  return {};
}

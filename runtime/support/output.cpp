// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files that a user names, written whole or, where they are no regular files,
// in place. See ee/output.h.
#include "ee/output.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <optional>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

using namespace ee;

namespace {

/// Where a path leads.
struct Place {
  enum Kind { Regular, Missing, InPlace, OwnDescriptor };
  Kind kind = Missing;
  std::string path;    ///< without a link at its end
  mode_t mode = 0;     ///< of a regular file
  int descriptor = -1; ///< of OwnDescriptor
};

std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "."
         : slash == 0               ? "/"
                                    : path.substr(0, slash);
}

Failure cannot(const char *what, const std::string &path, int error) {
  return Failure{std::string("cannot ") + what + " " + inQuotes(path) + ": " +
                 std::strerror(error)};
}

/// Links of /proc lead to what is open, whether it has a path or not. True for
/// one, which then needs no more following; `place` says how to open it.
bool isOpenFile(const std::string &link, Place &place) {
  struct statfs system;
  std::string folder = folderOf(link);
  if (::statfs(folder.c_str(), &system) != 0 ||
      system.f_type != PROC_SUPER_MAGIC)
    return false;
  std::string name = link.substr(link.rfind('/') + 1);
  if (name.empty() || name.size() > 9 ||
      name.find_first_not_of("0123456789") != name.npos)
    return false;
  struct stat there, own;
  bool isOwn = ::stat(folder.c_str(), &there) == 0 &&
               ::stat("/proc/self/fd", &own) == 0 &&
               there.st_dev == own.st_dev && there.st_ino == own.st_ino;
  // Opened again, a file would be written from its first byte on, over what
  // the descriptor wrote so far.
  place.kind = isOwn ? Place::OwnDescriptor : Place::InPlace;
  place.path = link;
  if (isOwn)
    place.descriptor = std::stoi(name);
  return true;
}

std::optional<std::string> readLink(const std::string &path) {
  char text[4096];
  ssize_t length = ::readlink(path.c_str(), text, sizeof text);
  if (length < 0 || size_t(length) == sizeof text)
    return std::nullopt;
  return std::string(text, size_t(length));
}

Expected<Place> locate(const std::string &given) {
  Place place;
  place.path = given;
  if (given.empty() || given.find('\0') != given.npos)
    return cannot("create", given, given.empty() ? ENOENT : EINVAL);
  for (int links = 0; links < 40; ++links) {
    struct stat info;
    if (::lstat(place.path.c_str(), &info) != 0) {
      if (errno != ENOENT)
        return cannot("create", given, errno);
      place.kind = Place::Missing;
      return place;
    }
    if (!S_ISLNK(info.st_mode)) {
      if (S_ISDIR(info.st_mode))
        return cannot("create", given, EISDIR);
      place.kind = S_ISREG(info.st_mode) ? Place::Regular : Place::InPlace;
      place.mode = info.st_mode & 0777;
      return place;
    }
    if (isOpenFile(place.path, place))
      return place;
    std::optional<std::string> next = readLink(place.path);
    if (!next)
      return cannot("create", given, errno);
    place.path =
        next->starts_with('/') ? *next : folderOf(place.path) + "/" + *next;
  }
  return cannot("create", given, ELOOP);
}

/// A name that nobody has, beside `path`.
std::string temporaryName(const std::string &path) {
  uint32_t value = 0;
  (void)!::getrandom(&value, sizeof value, 0);
  char text[16];
  std::snprintf(text, sizeof text, ".%08x", value);
  return path + text;
}

} // namespace

Expected<void> ee::writeAll(int descriptor, std::string_view bytes,
                            const std::string &shown) {
  // In pieces, so that a signal that waits is seen.
  constexpr size_t piece = size_t(16) << 20;
  while (!bytes.empty()) {
    ssize_t n =
        ::write(descriptor, bytes.data(), std::min(piece, bytes.size()));
    int error = n < 0 ? errno : 0;
    if (DeferSignals::pending())
      error = EINTR;
    else if (error == EINTR)
      continue;
    if (error)
      return Failure{"cannot write " + shown + ": " + std::strerror(error)};
    bytes.remove_prefix(size_t(n));
  }
  return {};
}

Expected<void> Output::check(const std::string &path) {
  auto place = locate(path);
  if (!place)
    return place.takeFailure();
  if (place->kind == Place::OwnDescriptor) {
    int flags = ::fcntl(place->descriptor, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
      return cannot("write", path, EBADF);
    return {};
  }
  bool inPlace = place->kind == Place::InPlace;
  int refused = inPlace ? ::access(place->path.c_str(), W_OK)
                        : ::access(folderOf(place->path).c_str(), W_OK | X_OK);
  if (refused != 0)
    return cannot(inPlace ? "write" : "create", path, errno);
  return {};
}

Failure Output::failure(const char *what, int error) const {
  return cannot(what, given, error);
}

/// Makes the temporary file.
Expected<void> Output::create() {
  deferred = std::make_unique<DeferSignals>();
  for (int attempt = 0;; ++attempt) {
    std::string name = temporaryName(target);
    int file =
        ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0) {
      fd = Descriptor(file);
      temporary = std::move(name);
      return {};
    }
    if (errno != EEXIST || attempt == 100)
      return failure("create", errno);
  }
}

Expected<Output> Output::open(const std::string &path) {
  auto place = locate(path);
  if (!place)
    return place.takeFailure();
  Output output;
  output.given = path;
  output.target = place->path;
  if (place->kind == Place::OwnDescriptor) {
    output.fd = Descriptor(::fcntl(place->descriptor, F_DUPFD_CLOEXEC, 0));
  } else if (place->kind == Place::InPlace) {
    // Appending matters for a file that another process has open.
    output.fd = Descriptor(::open(place->path.c_str(),
                                  O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY));
  } else {
    if (auto created = output.create(); !created)
      return created.takeFailure();
    if (place->kind == Place::Regular &&
        ::fchmod(output.fd.get(), place->mode) != 0)
      return output.failure("create", errno);
    return output;
  }
  if (!output.fd)
    return output.failure("write", errno);
  return output;
}

void Output::swap(Output &other) noexcept {
  std::swap(given, other.given);
  std::swap(target, other.target);
  std::swap(temporary, other.temporary);
  std::swap(deferred, other.deferred);
  std::swap(fd, other.fd);
}

Output::~Output() {
  if (!temporary.empty())
    ::unlink(temporary.c_str());
}

Expected<void> Output::write(std::string_view bytes) {
  return writeAll(fd.get(), bytes, inQuotes(given));
}

Expected<void> Output::commit() {
  if (DeferSignals::pending())
    return failure("write", EINTR);
  // Some file systems report a full disk only here.
  int file = ::dup(fd.get());
  if (file >= 0 && ::close(file) != 0)
    return failure("write", errno);
  if (temporary.empty())
    return {};
  if (::rename(temporary.c_str(), target.c_str()) != 0)
    return failure("write", errno);
  temporary.clear();
  return {};
}

Expected<void> ee::writeOutput(const std::string &path,
                               std::string_view bytes) {
  auto output = Output::open(path);
  if (!output)
    return output.takeFailure();
  if (auto written = output->write(bytes); !written)
    return written;
  return output->commit();
}

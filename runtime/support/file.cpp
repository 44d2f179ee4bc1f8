// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Guarded opening, reading and mapping of files. All checks are made on the
// open descriptor, never on a path that could change in between.
#include "ee/file.h"

#include "ee/checked.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace ee;

namespace {

// O_NONBLOCK: opening a FIFO must not wait for a writer. It has no effect on
// the regular files that pass the check after.
constexpr int openFlags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

std::string systemMessage(int error) { return std::strerror(error); }

std::string bytesText(uint64_t bytes) {
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

/// The first reason found in the text of an untrusted name to refuse it, or
/// null. The kernel is asked afterwards all the same; this gives a better line.
const char *badName(std::string_view name) {
  if (name.empty())
    return "it is empty";
  if (name.find('\0') != name.npos)
    return "it contains a NUL byte";
  if (name.front() == '/')
    return "it is absolute";
  if (name.size() >= 4096)
    return "it is longer than 4095 bytes";
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    if (name.substr(begin, end - begin) == "..")
      return "it contains '..'";
    begin = end + 1;
  }
  return nullptr;
}

int retryingOpenat(int directory, const char *name, int flags) {
  int fd;
  do
    fd = ::openat(directory, name, flags);
  while (fd < 0 && errno == EINTR);
  return fd < 0 ? -errno : fd;
}

int openByWalking(int directory, const std::string &name) {
  if (badName(name))
    return -EXDEV;
  Descriptor held;
  int at = directory;
  for (size_t begin = 0;;) {
    size_t end = name.find('/', begin);
    bool last = end == std::string::npos;
    std::string part = name.substr(begin, last ? end : end - begin);
    if (last)
      return retryingOpenat(at, part.empty() ? "." : part.c_str(),
                            openFlags | O_NOFOLLOW);
    if (!part.empty()) {
      int fd = retryingOpenat(at, part.c_str(),
                              O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      // A link in the middle is "not a directory" here; say what openat2 says.
      if (fd == -ENOTDIR) {
        struct stat info;
        if (::fstatat(at, part.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISLNK(info.st_mode))
          return -ELOOP;
      }
      if (fd < 0)
        return fd;
      held = Descriptor(fd);
      at = held.get();
    }
    begin = end + 1;
  }
}

int openByKernel(int directory, const std::string &name) {
  struct open_how how = {};
  how.flags = openFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: a rename elsewhere raced with the lookup; try again, but not for
  // ever.
  for (int attempt = 0; attempt < 64; ++attempt) {
    long fd =
        ::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof(how));
    if (fd >= 0)
      return int(fd);
    if (errno != EAGAIN && errno != EINTR)
      return -errno;
  }
  return -EAGAIN;
}

} // namespace

int detail::resolveBeneath(int directory, const std::string &name,
                           Resolver resolver) {
  return resolver == Resolver::Kernel ? openByKernel(directory, name)
                                      : openByWalking(directory, name);
}

std::string ee::inQuotes(std::string_view text) {
  constexpr size_t limit = 200;
  std::string result = "\"";
  for (unsigned char byte : text.substr(0, limit)) {
    if (byte == '"' || byte == '\\') {
      result += '\\';
      result += char(byte);
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr char digits[] = "0123456789abcdef";
      result += "\\x";
      result += digits[byte >> 4];
      result += digits[byte & 15];
    } else {
      result += char(byte);
    }
  }
  result += text.size() > limit ? "\"..." : "\"";
  return result;
}

Descriptor::~Descriptor() {
  if (fd >= 0)
    ::close(fd);
}

MappedFile::~MappedFile() {
  if (base)
    ::munmap(base, baseSize);
}

Expected<Directory> Directory::open(const std::string &path) {
  if (path.find('\0') != path.npos)
    return Failure{"cannot open directory " + inQuotes(path) +
                   ": the path contains a NUL byte"};
  int fd =
      retryingOpenat(AT_FDCWD, path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return Failure{"cannot open directory " + inQuotes(path) + ": " +
                   systemMessage(-fd)};
  return Directory(Descriptor(fd), path);
}

Expected<File> File::adopt(Descriptor fd, std::string name, uint64_t maxBytes,
                           bool trusted) {
  struct stat info;
  if (::fstat(fd.get(), &info) != 0)
    return Failure{"cannot open " + inQuotes(name) + ": " +
                   systemMessage(errno)};
  if (!S_ISREG(info.st_mode))
    return Failure{"cannot open " + inQuotes(name) + ": not a regular file"};
  if (!trusted && info.st_nlink != 1)
    return Failure{"cannot open " + inQuotes(name) + ": it has " +
                   std::to_string(info.st_nlink) +
                   " hard links; a file with exactly one is accepted"};
  std::optional<uint64_t> size = checkedCast<uint64_t>(info.st_size);
  if (!size || *size > maxBytes)
    return Failure{"cannot open " + inQuotes(name) + ": it has " +
                   std::to_string(info.st_size) + " bytes; at most " +
                   bytesText(maxBytes) + " accepted"};
  return File(std::move(fd), std::move(name), *size);
}

Expected<File> File::open(const std::string &path, uint64_t maxBytes) {
  if (path.find('\0') != path.npos)
    return Failure{"cannot open " + inQuotes(path) +
                   ": the path contains a NUL byte"};
  int fd = retryingOpenat(AT_FDCWD, path.c_str(), openFlags);
  if (fd < 0)
    return Failure{"cannot open " + inQuotes(path) + ": " + systemMessage(-fd)};
  return adopt(Descriptor(fd), path, maxBytes, /*trusted=*/true);
}

Expected<File> File::openBeneath(const Directory &directory,
                                 std::string_view name, uint64_t maxBytes) {
  std::string shown = directory.path() + "/" + std::string(name);
  if (const char *reason = badName(name))
    return Failure{"refusing the file name " + inQuotes(name) + " below " +
                   inQuotes(directory.path()) + ": " + reason +
                   "; a relative path inside of the directory is accepted"};
  std::string path(name);
  int fd = detail::resolveBeneath(directory.descriptor(), path,
                                  detail::Resolver::Kernel);
  // Old kernels do not have openat2, and some sandboxes hide it as EPERM.
  if (fd == -ENOSYS || fd == -EPERM)
    fd = detail::resolveBeneath(directory.descriptor(), path,
                                detail::Resolver::Walk);
  if (fd == -ELOOP)
    return Failure{"refusing " + inQuotes(shown) +
                   ": it leads through a symbolic link; plain files and "
                   "directories are accepted"};
  if (fd == -EXDEV)
    return Failure{"refusing " + inQuotes(shown) +
                   ": it leads out of its directory"};
  if (fd < 0)
    return Failure{"cannot open " + inQuotes(shown) + ": " +
                   systemMessage(-fd)};
  return adopt(Descriptor(fd), std::move(shown), maxBytes, /*trusted=*/false);
}

Expected<void> File::readAt(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    std::optional<off_t> at = checkedCast<off_t>(offset);
    // One read moves at most some 2 GiB; the loop takes what it gets.
    ssize_t got = at ? ::pread(fd.get(), out.data(),
                               std::min<size_t>(out.size(), 1 << 30), *at)
                     : 0;
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return Failure{"cannot read " + inQuotes(name) + ": " +
                     systemMessage(errno)};
    if (got == 0)
      return Failure{"cannot read " + inQuotes(name) +
                     ": it ends before byte " + std::to_string(offset)};
    out = out.subspan(size_t(got));
    offset += uint64_t(got);
  }
  return {};
}

Expected<std::string> File::readAll(uint64_t maxBytes) const {
  if (byteSize > maxBytes)
    return Failure{"cannot read " + inQuotes(name) + ": it has " +
                   bytesText(byteSize) + "; at most " + bytesText(maxBytes) +
                   " accepted"};
  std::string text(size_t(byteSize), '\0');
  if (Expected<void> read = readAt(0, std::as_writable_bytes(std::span(text)));
      !read)
    return read.takeFailure();
  return text;
}

Expected<MappedFile> File::map(uint64_t offset, uint64_t length) const {
  if (!rangeFits<uint64_t>(offset, length, byteSize))
    return Failure{"cannot map " + inQuotes(name) + ": bytes " +
                   std::to_string(offset) + " + " + std::to_string(length) +
                   " lie outside of its " + bytesText(byteSize)};
  MappedFile mapped;
  if (length == 0)
    return mapped;
  // mmap wants a page boundary; the pages before `offset` within it come along.
  uint64_t lead = offset % uint64_t(::sysconf(_SC_PAGESIZE));
  std::optional<size_t> total = checkedCast<size_t>(length + lead);
  std::optional<off_t> start = checkedCast<off_t>(offset - lead);
  void *base = MAP_FAILED;
  if (total && start)
    base = ::mmap(nullptr, *total, PROT_READ, MAP_PRIVATE, fd.get(), *start);
  else
    errno = EOVERFLOW;
  if (base == MAP_FAILED)
    return Failure{"cannot map " + inQuotes(name) + ": " +
                   systemMessage(errno)};
  mapped.base = base;
  mapped.baseSize = *total;
  mapped.view = {static_cast<const std::byte *>(base) + lead, size_t(length)};
  return mapped;
}

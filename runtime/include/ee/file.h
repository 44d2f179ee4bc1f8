// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The one way by which the tools open files for reading. Names that come out
// of a model or an artifact are untrusted: they must not lead out of their
// directory, through a link, or to anything but a plain file.
#ifndef EE_FILE_H
#define EE_FILE_H

#include "ee/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ee {

/// `text` in double quotes for an error line: control bytes and quotes are
/// escaped, and it is cut after 200 bytes. For names taken from input.
std::string inQuotes(std::string_view text);

/// Read-only bytes of a file, mapped. Move only. A file that somebody cuts
/// short while it is mapped kills the process with SIGBUS; artifacts are
/// written whole and never changed in place.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept { swap(other); }
  MappedFile &operator=(MappedFile &&other) noexcept {
    MappedFile(std::move(other)).swap(*this);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return view; }
  std::string_view text() const {
    return {reinterpret_cast<const char *>(view.data()), view.size()};
  }

private:
  friend class File;
  void swap(MappedFile &other) noexcept {
    std::swap(base, other.base);
    std::swap(baseSize, other.baseSize);
    std::swap(view, other.view);
  }

  void *base = nullptr;
  size_t baseSize = 0;
  std::span<const std::byte> view;
};

/// An owned file descriptor.
class Descriptor {
public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd(fd) {}
  Descriptor(Descriptor &&other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Descriptor();

  int get() const { return fd; }
  explicit operator bool() const { return fd >= 0; }

private:
  int fd = -1;
};

/// A directory below which untrusted names are looked up. It stays the same
/// directory when its path is renamed or replaced.
class Directory {
public:
  /// `path` comes from the user; links in it are followed.
  static Expected<Directory> open(const std::string &path);

  const std::string &path() const { return name; }
  int descriptor() const { return fd.get(); }

private:
  Directory(Descriptor fd, std::string name)
      : fd(std::move(fd)), name(std::move(name)) {}

  Descriptor fd;
  std::string name;
};

/// A regular file open for reading. Move only.
class File {
public:
  /// Opens a path given by the user. Links are followed, but only a regular
  /// file of at most `maxBytes` bytes is accepted.
  static Expected<File> open(const std::string &path, uint64_t maxBytes);

  /// Opens `name`, which comes from untrusted content, below `directory`. Each
  /// of these is refused: an absolute name, a `..` component, a symbolic link
  /// anywhere in it, a file with more than one hard link, anything that is not
  /// a regular file, a file of more than `maxBytes` bytes.
  static Expected<File> openBeneath(const Directory &directory,
                                    std::string_view name, uint64_t maxBytes);

  /// Bytes in the file when it was opened.
  uint64_t size() const { return byteSize; }
  /// The path for messages (not quoted).
  const std::string &path() const { return name; }
  int descriptor() const { return fd.get(); }

  /// The whole file; fails if it is longer than `maxBytes` by now.
  Expected<std::string> readAll(uint64_t maxBytes) const;
  /// Fills `out` from `offset`; fails if the file ends before.
  Expected<void> readAt(uint64_t offset, std::span<std::byte> out) const;
  /// Maps the whole file. An empty file gives an empty view.
  Expected<MappedFile> map() const { return map(0, byteSize); }
  /// Maps [offset, offset + length); `offset` needs no alignment.
  Expected<MappedFile> map(uint64_t offset, uint64_t length) const;

private:
  File(Descriptor fd, std::string name, uint64_t byteSize)
      : fd(std::move(fd)), name(std::move(name)), byteSize(byteSize) {}
  static Expected<File> adopt(Descriptor fd, std::string name,
                              uint64_t maxBytes, bool trusted);

  Descriptor fd;
  std::string name;
  uint64_t byteSize;
};

namespace detail {
/// How `openBeneath` resolves a name; exposed so that tests reach both.
/// `Kernel` is openat2, `Walk` opens component by component without following
/// links, for kernels and sandboxes that have no openat2.
enum class Resolver { Kernel, Walk };
/// Returns a descriptor or a negative errno.
int resolveBeneath(int directory, const std::string &name, Resolver resolver);
} // namespace detail

} // namespace ee

#endif // EE_FILE_H

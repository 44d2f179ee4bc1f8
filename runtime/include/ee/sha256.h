// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SHA-256 (FIPS 180-4) of bytes and files, for the hashes in an artifact's
// manifest.
#ifndef EE_SHA256_H
#define EE_SHA256_H

#include "ee/file.h"
#include "ee/result.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ee {

/// A running hash: any number of `update`, then one `finishHex`. A failure of
/// the crypto library is kept and reported by `finishHex`.
class Sha256 {
public:
  Sha256();
  Sha256(Sha256 &&) noexcept;
  Sha256 &operator=(Sha256 &&) noexcept;
  ~Sha256();

  void update(std::span<const std::byte> bytes);
  /// 64 lower-case hexadecimal digits.
  Expected<std::string> finishHex();

private:
  struct State;
  std::unique_ptr<State> state;
};

Expected<std::string> sha256Hex(std::span<const std::byte> bytes);
Expected<std::string> sha256Hex(std::string_view text);
/// Reads `file` in pieces, so that a large file never lies in memory whole.
Expected<std::string> sha256Hex(const File &file);

} // namespace ee

#endif // EE_SHA256_H

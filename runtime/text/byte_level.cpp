// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The byte-level alphabet: printable Latin-1 bytes stand for themselves, the
// others follow from U+0100 on in byte order.
#include "byte_level.h"

#include "ee/utf8.h"

#include <array>

using namespace ee;

namespace {

struct Alphabet {
  // The last character is U+0143: 256 + the 68 bytes that are not printable.
  static constexpr size_t end = 0x144;
  std::array<char32_t, 256> charOf{};
  std::array<int16_t, end> byteOf{};

  constexpr Alphabet() {
    byteOf.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= 0x21 && byte <= 0x7E) ||
                       (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      charOf[byte] = printable ? char32_t(byte) : next++;
      byteOf[charOf[byte]] = int16_t(byte);
    }
  }
};

constexpr Alphabet alphabet;

} // namespace

char32_t text::byteLevelChar(uint8_t byte) { return alphabet.charOf[byte]; }

std::optional<std::string> text::byteLevelBytes(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    Utf8Step step = decodeUtf8(token);
    if (step.codePoint >= Alphabet::end || alphabet.byteOf[step.codePoint] < 0)
      return std::nullopt;
    bytes += char(alphabet.byteOf[step.codePoint]);
    token.remove_prefix(step.length);
  }
  return bytes;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The byte-level alphabet of GPT-2: each byte has one printable character that
// stands for it in the file's tokens.
#ifndef EE_TEXT_BYTE_LEVEL_H
#define EE_TEXT_BYTE_LEVEL_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ee::text {

/// The character that stands for `byte`.
char32_t byteLevelChar(uint8_t byte);

/// The bytes that `token` spells, or nothing where one of its characters is
/// outside of the alphabet. `token` is well-formed UTF-8.
std::optional<std::string> byteLevelBytes(std::string_view token);

} // namespace ee::text

#endif // EE_TEXT_BYTE_LEVEL_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Names from files in error lines.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_MESSAGES_H
#define ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_MESSAGES_H

#include <string>
#include <string_view>

namespace adaptive {

/// `name` in single quotes, fit for one line: control bytes are written as
/// \xNN, and it is cut after 200 bytes.
inline std::string quoted(std::string_view name) {
  static constexpr char digits[] = "0123456789abcdef";
  constexpr size_t max = 200;
  std::string text = "'";
  for (char c : name.substr(0, max)) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f)
      text += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    else
      text += c;
  }
  return text + (name.size() > max ? "...'" : "'");
}

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_MESSAGES_H

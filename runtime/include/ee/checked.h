// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arithmetic on sizes that come from files: every step says whether it fitted.
#ifndef EE_CHECKED_H
#define EE_CHECKED_H

#include <concepts>
#include <optional>
#include <type_traits>

namespace ee {

/// a + b, or nothing where it does not fit T.
template <std::integral T>
constexpr std::optional<T> checkedAdd(T a, std::type_identity_t<T> b) {
  T result;
  if (__builtin_add_overflow(a, b, &result))
    return std::nullopt;
  return result;
}

/// a * b, or nothing where it does not fit T.
template <std::integral T>
constexpr std::optional<T> checkedMul(T a, std::type_identity_t<T> b) {
  T result;
  if (__builtin_mul_overflow(a, b, &result))
    return std::nullopt;
  return result;
}

/// `value` as a To, or nothing where To cannot hold it.
template <std::integral To, std::integral From>
constexpr std::optional<To> checkedCast(From value) {
  To result;
  if (__builtin_add_overflow(value, From(0), &result))
    return std::nullopt;
  return result;
}

/// True where [offset, offset + length) lies inside of [0, size).
template <std::unsigned_integral T>
constexpr bool rangeFits(T offset, std::type_identity_t<T> length,
                         std::type_identity_t<T> size) {
  return offset <= size && length <= size - offset;
}

} // namespace ee

#endif // EE_CHECKED_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A value or a one-line error text. Shared by the runtime and the compiler, so
// it needs neither exceptions nor RTTI.
#ifndef EE_RESULT_H
#define EE_RESULT_H

#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace ee {

/// Why something failed: one line without a final newline, fit to be shown to
/// a user. It names the file, field or flag and says what would be accepted.
struct [[nodiscard]] Failure {
  std::string message;
};

/// Either a `T` or a `Failure`. Reading the wrong side is a bug of the caller
/// and asserts; user input must never lead there.
template <typename T> class [[nodiscard]] Expected {
public:
  Expected(T value) : value(std::move(value)) {}
  Expected(Failure failure) : failure(std::move(failure)) {}

  explicit operator bool() const { return value.has_value(); }

  T &operator*() & { return assert(value), *value; }
  const T &operator*() const & { return assert(value), *value; }
  T &&operator*() && { return assert(value), std::move(*value); }
  T *operator->() { return assert(value), &*value; }
  const T *operator->() const { return assert(value), &*value; }

  /// The error text. Only when this holds no value.
  const std::string &error() const {
    assert(!value);
    return failure.message;
  }
  /// Passes the failure on as the failure of another type.
  Failure takeFailure() {
    assert(!value);
    return std::move(failure);
  }

private:
  std::optional<T> value;
  Failure failure;
};

/// Success without a value: `return {};`, or a `Failure`.
template <> class [[nodiscard]] Expected<void> {
public:
  Expected() = default;
  Expected(Failure failure) : failure(std::move(failure)) {}

  explicit operator bool() const { return !failure.has_value(); }

  const std::string &error() const { return assert(failure), failure->message; }
  Failure takeFailure() { return assert(failure), std::move(*failure); }

private:
  std::optional<Failure> failure;
};

} // namespace ee

#endif // EE_RESULT_H

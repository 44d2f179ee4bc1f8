// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Typed, range-checked access to the fields of a JSON document. Every error
// carries the path of the field ("stages[2].arena.base"). Errors travel as
// FieldError inside of the library; the public function turns them into a
// Failure.
#ifndef EE_CORE_FIELDS_H
#define EE_CORE_FIELDS_H

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ee {

struct FieldError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Field {
public:
  Field(const nlohmann::json &value, std::string path)
      : value(&value), path(std::move(path)) {}

  /// A member that must exist.
  Field at(const char *key) const;
  /// A member that may be absent; null counts as absent.
  std::optional<Field> find(const char *key) const;
  /// The elements of an array of at most `maxCount`.
  std::vector<Field> items(size_t maxCount) const;

  int64_t integer(int64_t min, int64_t max) const;
  /// A multiple of `factor` in [0, max].
  int64_t multiple(int64_t factor, int64_t max) const;
  double number() const;
  std::string string(size_t maxBytes = 4096) const;
  std::string oneOf(std::initializer_list<const char *> choices) const;

  bool isString() const { return value->is_string(); }
  bool isArray() const { return value->is_array(); }

  /// Throws "manifest.json: <path> <text>".
  [[noreturn]] void fail(const std::string &text) const;

private:
  const nlohmann::json *value;
  std::string path;
};

} // namespace ee

#endif // EE_CORE_FIELDS_H

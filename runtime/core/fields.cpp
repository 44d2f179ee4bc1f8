// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Typed access to JSON fields; see fields.h.
#include "fields.h"

#include "ee/file.h"

#include <cmath>

namespace ee {

void Field::fail(const std::string &text) const {
  throw FieldError(
      "manifest.json: " + (path.empty() ? std::string("the document") : path) +
      " " + text);
}

Field Field::at(const char *key) const {
  if (!value->is_object())
    fail("must be an object");
  auto it = value->find(key);
  std::string childPath = path.empty() ? key : path + "." + key;
  if (it == value->end())
    throw FieldError("manifest.json: " + childPath + " is missing");
  return Field(*it, std::move(childPath));
}

std::optional<Field> Field::find(const char *key) const {
  if (!value->is_object())
    fail("must be an object");
  auto it = value->find(key);
  if (it == value->end() || it->is_null())
    return std::nullopt;
  return Field(*it, path.empty() ? key : path + "." + key);
}

std::vector<Field> Field::items(size_t maxCount) const {
  if (!value->is_array())
    fail("must be a list");
  if (value->size() > maxCount)
    fail("has " + std::to_string(value->size()) + " entries, at most " +
         std::to_string(maxCount) + " are accepted");
  std::vector<Field> result;
  result.reserve(value->size());
  for (size_t i = 0; i < value->size(); ++i)
    result.emplace_back((*value)[i], path + "[" + std::to_string(i) + "]");
  return result;
}

int64_t Field::integer(int64_t min, int64_t max) const {
  std::string accepted = "must be an integer from " + std::to_string(min) +
                         " to " + std::to_string(max);
  if (!value->is_number_integer())
    fail(accepted);
  if (value->is_number_unsigned()) {
    uint64_t unsignedValue = value->get<uint64_t>();
    if (unsignedValue > uint64_t(INT64_MAX))
      fail(accepted + ", but is " + std::to_string(unsignedValue));
  }
  int64_t result = value->get<int64_t>();
  if (result < min || result > max)
    fail(accepted + ", but is " + std::to_string(result));
  return result;
}

int64_t Field::multiple(int64_t factor, int64_t max) const {
  int64_t result = integer(0, max);
  if (result % factor)
    fail("must be a multiple of " + std::to_string(factor) + ", but is " +
         std::to_string(result));
  return result;
}

double Field::number() const {
  if (!value->is_number())
    fail("must be a number");
  double result = value->get<double>();
  if (!std::isfinite(result))
    fail("must be finite");
  return result;
}

std::string Field::string(size_t maxBytes) const {
  if (!value->is_string())
    fail("must be a string");
  std::string result = value->get<std::string>();
  if (result.size() > maxBytes)
    fail("must be at most " + std::to_string(maxBytes) + " bytes long");
  if (result.find('\0') != std::string::npos)
    fail("must not contain a zero byte");
  return result;
}

std::string Field::oneOf(std::initializer_list<const char *> choices) const {
  std::string result = string();
  std::string list;
  for (const char *choice : choices) {
    if (result == choice)
      return result;
    list += (list.empty() ? "" : ", ") + std::string(choice);
  }
  fail("is " + inQuotes(result) + ", accepted are " + list);
}

} // namespace ee

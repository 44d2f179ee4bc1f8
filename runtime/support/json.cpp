// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bounded JSON parsing: a scan of the text checks depth and count before the
// parser allocates anything, a parser callback refuses repeated keys.
#include "ee/json.h"

#include "ee/file.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

using namespace ee;

/// Checks depth and an upper bound of the number of values: each value but the
/// first follows a comma or an opening bracket. Text that is no JSON passes or
/// fails as it comes; the parser has the last word.
static const char *scanShape(std::string_view text, const JsonLimits &limits) {
  size_t values = 1;
  unsigned depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
      continue;
    }
    if (c == '"')
      inString = true;
    else if (c == ']' || c == '}')
      depth -= depth > 0;
    else if (c == '[' || c == '{') {
      if (++depth > limits.maxDepth)
        return "nesting";
      ++values;
    } else if (c == ',')
      ++values;
    if (values > limits.maxValues)
      return "values";
  }
  return nullptr;
}

Expected<nlohmann::json> ee::parseJson(std::string_view text,
                                       std::string_view what,
                                       const JsonLimits &limits) {
  using nlohmann::json;
  std::string prefix(what);
  if (text.size() > limits.maxBytes)
    return Failure{prefix + ": " + std::to_string(text.size()) +
                   " bytes of JSON; at most " +
                   std::to_string(limits.maxBytes) + " are accepted"};
  if (const char *broken = scanShape(text, limits))
    return Failure{
        prefix + ": " +
        (*broken == 'n'
             ? "JSON nested deeper than " + std::to_string(limits.maxDepth)
             : "more than " + std::to_string(limits.maxValues) +
                   " JSON values") +
        " is not accepted"};

  // One set of keys for each object that is open.
  std::vector<std::unordered_set<std::string>> keys;
  std::string repeated;
  auto watch = [&](int, json::parse_event_t event, json &value) {
    if (event == json::parse_event_t::object_start)
      keys.emplace_back();
    else if (event == json::parse_event_t::object_end)
      keys.pop_back();
    else if (event == json::parse_event_t::key && repeated.empty()) {
      const std::string &key = value.get_ref<const std::string &>();
      if (!keys.back().insert(key).second)
        repeated = inQuotes(key);
    }
    return true;
  };
  try {
    json document = json::parse(text, watch);
    if (!repeated.empty())
      return Failure{prefix + ": the key " + repeated +
                     " appears twice in one JSON object"};
    return document;
  } catch (const json::parse_error &error) {
    return Failure{prefix + ": not valid JSON at byte " +
                   std::to_string(error.byte)};
  } catch (const json::exception &) {
    return Failure{prefix + ": a JSON number is out of range"};
  }
}

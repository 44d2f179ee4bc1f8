// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// policy.toml and flags to policy records. Unknown keys are refused: a
// misspelt threshold must not silently leave the default in force.
#include "ee/policy.h"

#include "ee/file.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <toml++/toml.h>

namespace ee {

Policy defaultPolicy(const Manifest &manifest) {
  Policy policy;
  ee_policy &record = policy.record;
  record.version = EE_POLICY_VERSION;
  record.max_depth = std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < manifest.exits.size(); ++i) {
    record.criterion_mask |= uint32_t(1) << i;
    record.threshold[i] = manifest.exits[i].threshold;
  }
  return policy;
}

namespace {

struct PolicyError {
  std::string message;
};

int64_t integer(const toml::node &node, std::string_view key, int64_t min,
                int64_t max) {
  auto value = node.value_exact<int64_t>();
  if (!value || *value < min || *value > max)
    throw PolicyError{std::string(key) + " must be an integer from " +
                      std::to_string(min) + " to " + std::to_string(max)};
  return *value;
}

bool boolean(const toml::node &node, std::string_view key) {
  auto value = node.value_exact<bool>();
  if (!value)
    throw PolicyError{std::string(key) + " must be true or false"};
  return *value;
}

float finite(const toml::node &node, std::string_view key) {
  auto value = node.value<double>();
  if (!node.is_number() || !value || !std::isfinite(float(*value)))
    throw PolicyError{std::string(key) + " must be a finite number"};
  return float(*value);
}

void applyExit(ee_policy &record, const Manifest &manifest,
               std::string_view name, const toml::node &node) {
  std::string path = "exits." + std::string(name);
  auto index = findExit(manifest, name);
  if (!index)
    throw PolicyError{index.error()};
  const toml::table *table = node.as_table();
  if (!table)
    throw PolicyError{path + " must be a table"};
  for (auto &&[key, value] : *table) {
    std::string full = path + "." + std::string(key.str());
    if (key == "threshold") {
      record.threshold[*index] = finite(value, full);
    } else if (key == "enabled") {
      uint32_t bit = uint32_t(1) << *index;
      record.criterion_mask = boolean(value, full)
                                  ? record.criterion_mask | bit
                                  : record.criterion_mask & ~bit;
    } else {
      throw PolicyError{"unknown key " + inQuotes(full) +
                        ", accepted are threshold, enabled"};
    }
  }
}

void applyTable(Policy &policy, const Manifest &manifest,
                const toml::table &table) {
  constexpr int64_t maxInt = std::numeric_limits<int32_t>::max();
  ee_policy &record = policy.record;
  for (auto &&[key, value] : table) {
    std::string_view name = key.str();
    if (name == "version") {
      integer(value, name, EE_POLICY_VERSION, EE_POLICY_VERSION);
    } else if (name == "force_full") {
      record.force_full = boolean(value, name);
    } else if (name == "min_depth") {
      record.min_depth = int32_t(integer(value, name, 0, maxInt));
    } else if (name == "max_depth") {
      record.max_depth = int32_t(integer(value, name, 0, maxInt));
    } else if (name == "tier") {
      record.tier = uint32_t(integer(value, name, 0, maxInt));
    } else if (name == "draft_length") {
      record.draft_length = int32_t(integer(value, name, 0, 1024));
    } else if (name == "chunk") {
      record.chunk = int32_t(integer(value, name, 0, maxInt));
    } else if (name == "decay_scale") {
      record.decay_scale = finite(value, name);
    } else if (name == "decay_rate") {
      record.decay_rate = finite(value, name);
    } else if (name == "prompt_exits") {
      policy.promptExits = boolean(value, name);
    } else if (name == "exits") {
      const toml::table *exits = value.as_table();
      if (!exits)
        throw PolicyError{"exits must be a table"};
      for (auto &&[exit, settings] : *exits)
        applyExit(record, manifest, exit.str(), settings);
    } else {
      throw PolicyError{
          "unknown key " + inQuotes(name) +
          ", accepted are version, force_full, min_depth, max_depth, tier, "
          "draft_length, chunk, decay_scale, decay_rate, prompt_exits, exits"};
    }
  }
}

} // namespace

Expected<void> applyPolicyToml(Policy &policy, const Manifest &manifest,
                               std::string_view text, std::string_view what) {
  if (text.size() > (size_t(1) << 20))
    return Failure{std::string(what) + " is larger than 1 MiB"};
  Policy next = policy;
  try {
    applyTable(next, manifest, toml::parse(text));
  } catch (const toml::parse_error &error) {
    return Failure{std::string(what) + ":" +
                   std::to_string(error.source().begin.line) + ": " +
                   std::string(error.description())};
  } catch (const PolicyError &error) {
    return Failure{std::string(what) + ": " + error.message};
  }
  policy = next;
  return {};
}

Expected<void> applyThreshold(Policy &policy, const Manifest &manifest,
                              std::string_view setting) {
  size_t equals = setting.rfind('=');
  if (equals == std::string_view::npos)
    return Failure{"--threshold " + inQuotes(setting) +
                   " must be EXIT=NUMBER or EXIT=never"};
  auto index = findExit(manifest, setting.substr(0, equals));
  if (!index)
    return Failure{"--threshold: " + index.error()};
  std::string number(setting.substr(equals + 1));
  uint32_t bit = uint32_t(1) << *index;
  if (number == "never") {
    policy.record.criterion_mask &= ~bit;
    return {};
  }
  char *end = nullptr;
  float value = std::strtof(number.c_str(), &end);
  if (number.empty() || *end || !std::isfinite(value))
    return Failure{"--threshold " + inQuotes(setting) +
                   " must be EXIT=NUMBER or EXIT=never"};
  policy.record.threshold[*index] = value;
  policy.record.criterion_mask |= bit;
  return {};
}

} // namespace ee

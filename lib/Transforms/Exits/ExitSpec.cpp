// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reads exit specs with toml++.

#include "ExitSpec.h"

#include "ee/abi.h"
#include "ee/file.h"

#include <algorithm>
#include <cmath>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

using namespace adaptive;

namespace {
constexpr uint64_t maxSpecBytes = 1 << 20;

/// One table of the spec: typed look-ups with errors that say where.
class Table {
public:
  Table(const toml::table &table, std::string where)
      : table(table), where(std::move(where)) {}

  std::string text(const char *key, const char *fallback) {
    const toml::node *node = table.get(key);
    if (!node && fallback)
      return fallback;
    if (auto value = node ? node->value_exact<std::string>() : std::nullopt)
      return *value;
    fail(std::string("'") + key + "' must be a string");
    return "";
  }
  double number(const char *key, double fallback) {
    const toml::node *node = table.get(key);
    if (!node)
      return fallback;
    auto value = node->value<double>();
    if (node->is_number() && value && std::isfinite(*value))
      return *value;
    fail(std::string("'") + key + "' must be a finite number");
    return 0;
  }
  int64_t integer(const char *key) {
    const toml::node *node = table.get(key);
    if (auto value = node ? node->value_exact<int64_t>() : std::nullopt)
      return *value;
    fail(std::string("'") + key + "' must be an integer");
    return 0;
  }
  const toml::table *inner(const char *key) {
    const toml::node *node = table.get(key);
    if (node && !node->is_table())
      fail(std::string("'") + key + "' must be a table");
    return node ? node->as_table() : nullptr;
  }
  void only(std::initializer_list<std::string_view> known) {
    for (auto &&[key, value] : table)
      if (std::find(known.begin(), known.end(), key.str()) == known.end()) {
        std::string list;
        for (std::string_view name : known)
          list += (list.empty() ? "" : ", ") + std::string(name);
        fail("unknown key " + ee::inQuotes(key.str()) + ", accepted are " +
             list);
      }
  }
  void fail(const std::string &message) {
    if (error.empty())
      error = where + ": " + message;
  }

  const toml::table &table;
  std::string where;
  std::string error;
};

std::string readFileName(Table &table) {
  std::string file = table.text("weights", nullptr);
  if (file.find('/') != std::string::npos || file.empty() || file[0] == '.')
    table.fail("'weights' must be the plain name of a file beside the spec");
  return file;
}

void readHead(Table &exit, ExitSpec &spec) {
  const toml::table *inner = exit.inner("head");
  if (!inner)
    return;
  Table head(*inner, exit.where + " head");
  spec.head = head.text("kind", nullptr);
  std::vector<const char *> needed;
  if (spec.head == "map")
    needed = {"map"};
  else if (spec.head == "lowrank")
    needed = {"down", "up"};
  else if (spec.head != "reuse")
    head.fail("'kind' must be reuse, map or lowrank");
  if (spec.head == "reuse")
    head.only({"kind"});
  else if (spec.head == "map")
    head.only({"kind", "weights", "map", "bias"});
  else
    head.only({"kind", "weights", "down", "up", "bias"});
  if (!needed.empty())
    spec.headFile = readFileName(head);
  for (const char *key : needed)
    spec.headTensors[key] = head.text(key, nullptr);
  if (inner->get("bias"))
    spec.headTensors["bias"] = head.text("bias", nullptr);
  if (!head.error.empty() && exit.error.empty())
    exit.error = head.error;
}

void readProbe(Table &exit, ExitSpec &spec) {
  const toml::table *inner = exit.inner("probe");
  if (!inner) {
    if (spec.criterion == Criterion::Probe)
      exit.fail("criterion probe needs a table 'probe'");
    return;
  }
  Table probe(*inner, exit.where + " probe");
  probe.only({"weights", "weight", "bias"});
  spec.probeFile = readFileName(probe);
  spec.probeWeight = probe.text("weight", nullptr);
  spec.probeBias = probe.text("bias", nullptr);
  if (!probe.error.empty() && exit.error.empty())
    exit.error = probe.error;
}

/// A name that can stand as a symbol in the IR and in a policy file.
bool isName(const std::string &name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '_' || c == '-' || c == '.';
         });
}
} // namespace

ee::Expected<std::vector<ExitSpec>>
adaptive::readExitSpec(const std::string &path) {
  auto file = ee::File::open(path, maxSpecBytes);
  if (!file)
    return file.takeFailure();
  auto text = file->readAll(maxSpecBytes);
  if (!text)
    return text.takeFailure();
  std::string where = ee::inQuotes(path);
  toml::parse_result parsed = toml::parse(*text);
  if (!parsed)
    return ee::Failure{where + " is not valid TOML: line " +
                       std::to_string(parsed.error().source().begin.line) +
                       ": " + std::string(parsed.error().description())};
  Table root(parsed.table(), where);
  root.only({"version", "exit"});
  if (root.integer("version") != 1)
    root.fail("'version' must be 1");
  const toml::node *list = root.table.get("exit");
  const toml::array *exits = list ? list->as_array() : nullptr;
  if (!exits || exits->empty() || exits->size() > EE_MAX_EXITS)
    root.fail("needs 1 to " + std::to_string(EE_MAX_EXITS) +
              " tables [[exit]]");
  if (!root.error.empty())
    return ee::Failure{root.error};

  std::vector<ExitSpec> specs;
  for (const toml::node &node : *exits) {
    std::string label = where + " exit " + std::to_string(specs.size());
    if (!node.is_table())
      return ee::Failure{label + " must be a table"};
    Table exit(*node.as_table(), label);
    exit.only(
        {"name", "layer", "criterion", "threshold", "fill", "head", "probe"});
    ExitSpec spec;
    spec.layer = exit.integer("layer");
    spec.name = exit.text("name", ("e" + std::to_string(spec.layer)).c_str());
    exit.where = where + " exit " + ee::inQuotes(spec.name);
    if (!isName(spec.name))
      exit.fail("'name' must be 1 to 64 letters, digits, '_', '-' or '.'");
    auto criterion = symbolizeCriterion(exit.text("criterion", "max_prob"));
    if (!criterion)
      exit.fail(
          "'criterion' must be max_prob, margin, entropy, cosine or probe");
    spec.criterion = criterion.value_or(Criterion::MaxProb);
    spec.threshold = exit.number("threshold", 0);
    auto fill = symbolizeKVFill(exit.text("fill", "exact"));
    if (!fill)
      exit.fail("'fill' must be exact or propagate");
    spec.fill = fill.value_or(KVFill::Exact);
    readHead(exit, spec);
    readProbe(exit, spec);
    if (!exit.error.empty())
      return ee::Failure{exit.error};
    specs.push_back(std::move(spec));
  }
  std::stable_sort(
      specs.begin(), specs.end(),
      [](const ExitSpec &a, const ExitSpec &b) { return a.layer < b.layer; });
  for (const ExitSpec &spec : specs) {
    // Exits of one model share levels of KV, and a level is filled in one way.
    if (spec.fill != specs.front().fill)
      return ee::Failure{where + ": all exits must have one 'fill'"};
    for (const ExitSpec &other : specs)
      if (&other != &spec && other.name == spec.name)
        return ee::Failure{where + ": two exits are named " +
                           ee::inQuotes(spec.name)};
  }
  for (size_t i = 1; i < specs.size(); ++i)
    if (specs[i].layer == specs[i - 1].layer)
      return ee::Failure{where + ": two exits stand behind layer " +
                         std::to_string(specs[i].layer)};
  return specs;
}

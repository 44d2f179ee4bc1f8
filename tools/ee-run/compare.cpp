// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run compare`: the same prompts through two artifacts. What an artifact
// says of itself cannot show a lowering that is wrong; another one can.
#include "commands.h"
#include "ee/file.h"
#include "generate.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace {
using nlohmann::json;

struct CompareFlags {
  GenerateFlags generate;
  std::string other;
};

/// What one artifact made of one prompt.
struct Outcome {
  std::vector<int32_t> ids, depth;
  std::vector<uint64_t> logits;
  std::vector<std::string> kv;
};

/// A token at which the artifacts part, or the KV behind the last one.
struct Difference {
  size_t prompt = 0, token = 0;
  int64_t position = 0; ///< of the row that gave the token
  std::vector<std::string> what;
};

struct Counts {
  int64_t prompts = 0, tokens = 0; ///< compared
  int64_t badPrompts = 0, ids = 0, depths = 0, logits = 0, kv = 0;
};

std::vector<Outcome> outcomes(const GenerateFlags &flags, const Model &model,
                              const std::vector<Prompt> &prompts) {
  Batch batch(flags, model, prompts, nullptr);
  batch.run(true);
  std::vector<Outcome> result;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const ee::RequestStatus &status = batch.status(i);
    result.push_back(
        {status.ids, status.exitDepth, status.logitHash,
         flags.kvHash ? batch.kvHashes(i) : std::vector<std::string>()});
  }
  return result;
}

/// What differs in a token, in the order of cause and effect.
std::vector<std::string> differences(const Outcome &a, const Outcome &b,
                                     size_t token, Counts &counts) {
  std::vector<std::string> what;
  auto look = [&](const char *name, const auto &left, const auto &right,
                  int64_t &count) {
    if (left[token] == right[token])
      return;
    ++count;
    what.push_back(name);
  };
  look("depth", a.depth, b.depth, counts.depths);
  look("logits", a.logits, b.logits, counts.logits);
  look("id", a.ids, b.ids, counts.ids);
  return what;
}

/// Compares a prompt; `first` takes its first difference if it has none yet.
void comparePrompt(size_t prompt, size_t length, const Outcome &a,
                   const Outcome &b, Counts &counts,
                   std::optional<Difference> &first) {
  bool differs = false;
  auto note = [&](size_t token, std::vector<std::string> what) {
    differs = true;
    if (!first)
      first = {prompt, token, int64_t(length + token) - 1, std::move(what)};
  };
  size_t both = std::min(a.ids.size(), b.ids.size());
  for (size_t token = 0; token < both; ++token)
    if (auto what = differences(a, b, token, counts); !what.empty())
      note(token, std::move(what));
  if (a.ids.size() != b.ids.size()) {
    counts.ids += int64_t(std::max(a.ids.size(), b.ids.size()) - both);
    note(both, {"end"});
  }
  if (a.kv != b.kv) {
    ++counts.kv;
    note(both, {"kv"});
  }
  ++counts.prompts;
  counts.tokens += int64_t(both);
  counts.badPrompts += differs;
}

/// What one side has at the place of a difference.
json sideAt(const Outcome &side, const Difference &at) {
  json out = json::object();
  if (at.token < side.ids.size()) {
    out["id"] = side.ids[at.token];
    out["depth"] = side.depth[at.token];
    out["logit_hash"] = hexText(side.logits[at.token]);
  }
  if (at.what.front() == "kv")
    out["kv_hash"] = side.kv;
  return out;
}

json toJson(const Counts &counts, const std::optional<Difference> &first,
            const std::vector<Outcome> &a, const std::vector<Outcome> &b) {
  json out;
  out["equal"] = !first;
  out["prompts"] = counts.prompts;
  out["tokens"] = counts.tokens;
  out["different"] = {{"prompts", counts.badPrompts},
                      {"ids", counts.ids},
                      {"depths", counts.depths},
                      {"logits", counts.logits},
                      {"kv", counts.kv}};
  out["first"] = nullptr;
  if (first)
    out["first"] = {{"prompt", first->prompt},
                    {"token", first->token},
                    {"position", first->position},
                    {"what", first->what},
                    {"a", sideAt(a[first->prompt], *first)},
                    {"b", sideAt(b[first->prompt], *first)}};
  return out;
}

void printText(const json &out, bool kv) {
  auto number = [](const json &value) {
    return static_cast<long long>(value.get<int64_t>());
  };
  const json &different = out["different"];
  std::printf("prompts    %lld, %lld differ\n", number(out["prompts"]),
              number(different["prompts"]));
  for (auto [title, name] :
       {std::pair("ids", "ids"), std::pair("depths", "depths"),
        std::pair("logits", "logits")})
    std::printf("%-10s %lld of %lld tokens differ\n", title,
                number(different[name]), number(out["tokens"]));
  if (kv)
    std::printf("KV         of %lld of %lld prompts differs\n",
                number(different["kv"]), number(out["prompts"]));
  if (out["equal"])
    return;
  const json &first = out["first"];
  std::string what;
  for (const json &word : first["what"])
    what += (what.empty() ? "" : ", ") + word.get<std::string>();
  std::printf("first difference: prompt %lld, token %lld (position %lld): %s\n"
              "  A %s\n  B %s\n",
              number(first["prompt"]) + 1, number(first["token"]) + 1,
              number(first["position"]), what.c_str(),
              first["a"].dump().c_str(), first["b"].dump().c_str());
}

/// Layers and bytes of the KV levels: hashes per level need the same ones.
std::vector<std::pair<int64_t, int64_t>> kvShape(const Model &model) {
  std::vector<std::pair<int64_t, int64_t>> shape;
  for (const ee::KvLevelEntry &level : model.artifact.manifest().levels)
    shape.push_back({level.layers, level.bytesPerPosition});
  return shape;
}

int compare(CompareFlags given) {
  GenerateFlags flags = given.generate;
  flags.logitHash = true;
  catchInterrupt();
  Model a(flags.model);
  ModelFlags otherFlags = flags.model;
  otherFlags.artifact = given.other;
  Model b(otherFlags);
  int64_t positions = INT64_MAX;
  for (const Model *model : {&a, &b}) {
    needDecoder(*model);
    refuseOtherInputs(*model);
    positions =
        std::min(positions, model->artifact.manifest().model.maxPosition);
  }
  int64_t vocab = a.artifact.manifest().model.vocab;
  if (b.artifact.manifest().model.vocab != vocab)
    throw CommandError(ee::inQuotes(given.other) + " has a vocabulary of " +
                       std::to_string(b.artifact.manifest().model.vocab) +
                       ", " + ee::inQuotes(flags.model.artifact) + " one of " +
                       std::to_string(vocab) + ": equal ones are accepted");
  if (flags.kvHash && kvShape(a) != kvShape(b))
    throw CommandError("--kv-hash is for artifacts with the same KV levels: " +
                       ee::inQuotes(flags.model.artifact) + " and " +
                       ee::inQuotes(given.other) +
                       " divide their layers differently");
  std::vector<Prompt> prompts = readPrompts(flags, a);
  flags.count = countOf(flags, prompts, positions);
  std::vector<Outcome> left = outcomes(flags, a, prompts);
  std::vector<Outcome> right;
  if (!interrupted())
    right = outcomes(flags, b, prompts);
  if (interrupted())
    return interruptedCode;
  Counts counts;
  std::optional<Difference> first;
  for (size_t i = 0; i < prompts.size(); ++i)
    comparePrompt(i, prompts[i].ids.size(), left[i], right[i], counts, first);
  json out = toJson(counts, first, left, right);
  if (flags.json)
    std::printf("%s\n", out.dump().c_str());
  else
    printText(out, flags.kvHash);
  return first ? 1 : 0;
}

} // namespace

void addCompare(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "compare",
      "Generate with two artifacts and compare ids, depths and bits of logits, "
      "token by token. Prompts are read with the tokenizer of the first, all "
      "flags hold for both. Exit code 0 when all is equal, 1 when it is not.");
  auto flags = std::make_shared<CompareFlags>();
  flags->generate.model.add(*command);
  command->add_option("other", flags->other, "The artifact to compare it with")
      ->required()
      ->type_name("DIR");
  addPromptFlags(*command, flags->generate);
  command->add_flag("--kv-hash", flags->generate.kvHash,
                    "Pay all KV debts and compare the KV per level too");
  command->add_flag("--json", flags->generate.json, "One JSON object");
  command->callback([flags, &exitCode] { exitCode = compare(*flags); });
}

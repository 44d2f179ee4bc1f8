// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run eval`: what exits cost. Runs a text twice, with the policy and at
// full depth, and compares.
#include "commands.h"
#include "ee/file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace {

struct EvalFlags {
  ModelFlags model;
  std::string file, idsFile;
  int64_t context = 0, tokens = 0; // 0: up to 512, all
  bool json = false;
};

/// Negative log likelihood, best id and depth of each row of a window.
struct Scores {
  double nll = 0;
  int64_t counted = 0, depth = 0, rows = 0;
  std::vector<int32_t> best;
  std::vector<int64_t> exits; ///< rows per exit, full depth last
};

class Scorer : public ee::SessionObserver {
public:
  Scorer(Scores &scores, const std::vector<int32_t> &ids, int64_t context,
         size_t exits)
      : scores(scores), ids(ids), context(context) {
    scores.best.assign(ids.size(), -1);
    scores.exits.assign(exits + 1, 0);
  }
  void onLogits(ee::Ticket ticket, int64_t position,
                std::span<const float> logits) override {
    size_t index = size_t(int64_t(ticket - 1) * context + position);
    auto best = std::max_element(logits.begin(), logits.end());
    scores.best[index] = int32_t(best - logits.begin());
    // The last row of a window predicts what the window does not hold.
    if (position + 1 == context || index + 1 >= ids.size())
      return;
    double sum = 0;
    for (float value : logits)
      sum += std::exp(double(value) - double(*best));
    scores.nll +=
        std::log(sum) + double(*best) - double(logits[size_t(ids[index + 1])]);
    ++scores.counted;
  }
  void onEmission(const ee::Emission &e) override {
    scores.depth += e.depth;
    ++scores.rows;
    ++(e.exit < 0 ? scores.exits.back() : scores.exits[size_t(e.exit)]);
  }

private:
  Scores &scores;
  const std::vector<int32_t> &ids;
  int64_t context;
};

Scores score(const Model &model, const EvalFlags &flags,
             const std::vector<int32_t> &ids, bool full) {
  Scores scores;
  Scorer scorer(scores, ids, flags.context,
                model.artifact.manifest().exits.size());
  int64_t windows = (int64_t(ids.size()) + flags.context - 1) / flags.context;
  ee::SessionOptions options =
      model.session(flags.model, flags.context, windows);
  options.observer = &scorer;
  if (full)
    options.policies[0].force_full = 1;
  auto session = need(ee::Session::create(model.artifact, options));
  std::vector<ee::Ticket> tickets;
  for (int64_t w = 0; w < windows; ++w) {
    ee::Request request;
    auto begin = ids.begin() + w * flags.context;
    auto end =
        ids.begin() + std::min(int64_t(ids.size()), (w + 1) * flags.context);
    request.prompt.assign(begin, end);
    request.emitAllRows = true;
    request.promptExits = !full;
    tickets.push_back(need(session->submit(std::move(request))));
  }
  double shown = 0;
  while (need(session->step())) {
    if (interrupted())
      throw CommandError("interrupted");
    if (seconds() - shown > 0.2) {
      shown = seconds();
      progress((full ? "full depth: " : "with exits: ") +
               std::to_string(scores.rows) + " of " +
               std::to_string(ids.size()) + " tokens");
    }
  }
  progress("");
  return scores;
}

std::vector<int32_t> readIds(const EvalFlags &flags, const Model &model) {
  if (flags.file.empty() == flags.idsFile.empty())
    throw CommandError("give one of --file TEXT or --ids FILE");
  std::vector<int32_t> ids;
  if (!flags.file.empty()) {
    ids = model.encode(readTextFile(flags.file));
  } else {
    std::string text = readTextFile(flags.idsFile);
    std::replace(text.begin(), text.end(), '\n', ' ');
    ids = parseIds(text, flags.idsFile);
    for (int32_t id : ids)
      if (id < 0 || id >= model.artifact.manifest().model.vocab)
        throw CommandError(flags.idsFile + " has id " + std::to_string(id) +
                           ", outside of the vocabulary");
  }
  if (flags.tokens && int64_t(ids.size()) > flags.tokens)
    ids.resize(size_t(flags.tokens));
  if (ids.size() < 2)
    throw CommandError("the text has fewer than two tokens");
  return ids;
}

int eval(EvalFlags flags) {
  catchInterrupt();
  Model model(flags.model);
  needDecoder(model);
  const ee::Manifest &m = model.artifact.manifest();
  if (flags.context == 0)
    flags.context = std::min<int64_t>(512, m.model.maxPosition);
  if (flags.context < 2 || flags.context > m.model.maxPosition)
    throw CommandError("--context is " + std::to_string(flags.context) +
                       ", accepted are 2 to " +
                       std::to_string(m.model.maxPosition));
  if (flags.tokens < 0)
    throw CommandError("--tokens must be 0 (all) or more");
  std::vector<int32_t> ids = readIds(flags, model);
  flags.context = std::min(flags.context, int64_t(ids.size()));
  bool exits = !m.exits.empty() && !model.policy.record.force_full;
  Scores full = score(model, flags, ids, true);
  Scores early = exits ? score(model, flags, ids, false) : full;
  int64_t same = 0;
  for (size_t i = 0; i < ids.size(); ++i)
    same += early.best[i] == full.best[i];
  auto perplexity = [](const Scores &s) {
    return std::exp(s.nll / double(std::max<int64_t>(1, s.counted)));
  };
  nlohmann::json out;
  out["tokens"] = ids.size();
  out["perplexity"] = perplexity(early);
  out["perplexity_full"] = perplexity(full);
  out["agreement"] = double(same) / double(ids.size());
  out["mean_depth"] = double(early.depth) / double(early.rows);
  out["layers"] = m.model.layers;
  for (size_t i = 0; i < m.exits.size(); ++i)
    out["exits"][m.exits[i].name] = early.exits[i];
  out["exits"]["full"] = early.exits.back();
  if (flags.json) {
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  std::printf("tokens                %zu\n", ids.size());
  std::printf("perplexity            %.4f\n", perplexity(early));
  std::printf("perplexity, full      %.4f\n", perplexity(full));
  std::printf("agreement with full   %.4f\n",
              double(same) / double(ids.size()));
  std::printf("mean depth            %.3f of %lld\n",
              double(early.depth) / double(early.rows),
              static_cast<long long>(m.model.layers));
  for (auto &[name, count] : out["exits"].items())
    std::printf("  left at %-13s %lld\n", name.c_str(),
                static_cast<long long>(count.get<int64_t>()));
  return 0;
}

} // namespace

void addEval(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "eval", "Perplexity, agreement with full depth and mean depth on a text. "
              "Every token may leave as the policy says.");
  auto flags = std::make_shared<EvalFlags>();
  flags->model.add(*command);
  command->add_option("-f,--file", flags->file, "Text file");
  command->add_option("--ids", flags->idsFile, "File with token ids");
  command->add_option("-c,--context", flags->context,
                      "Tokens of a window; windows do not overlap (default: "
                      "512, or what the model has)");
  command->add_option("-n,--tokens", flags->tokens,
                      "Use only so many tokens (default: all)");
  command->add_flag("--json", flags->json, "One JSON object");
  command->callback([flags, &exitCode] { exitCode = eval(*flags); });
}

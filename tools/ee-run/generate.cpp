// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run generate`: text from prompts, all of them in one batch.
#include "generate.h"

#include "commands.h"
#include "ee/file.h"
#include "ee/output.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace {
using nlohmann::json;

/// Streams the only prompt, and notes what `--trace` wants.
class Watcher : public ee::SessionObserver {
public:
  Watcher(const Model &model, TokenPrinter *printer, bool trace)
      : manifest(model.artifact.manifest()), printer(printer), trace(trace) {}

  bool wantsLogits() const override { return false; }
  void onEmission(const ee::Emission &e) override {
    if (!e.generated)
      return;
    if (printer)
      printer->token(e.token, e.depth);
    if (!trace)
      return;
    json line;
    line["prompt"] = e.ticket - 1;
    line["position"] = e.position;
    line["token"] = e.token;
    line["depth"] = e.depth;
    line["exit"] =
        e.exit < 0 ? json() : json(manifest.exits[size_t(e.exit)].name);
    json criteria = json::object();
    for (size_t i = 0; i < e.criteria.size(); ++i)
      criteria[manifest.exits[i].name] =
          std::isnan(e.criteria[i]) ? json() : json(e.criteria[i]);
    line["criteria"] = criteria;
    traceText += line.dump() + "\n";
  }

  std::string traceText;

private:
  const ee::Manifest &manifest;
  TokenPrinter *printer;
  bool trace;
};

bool wantsColor(const std::string &flag) {
  if (flag != "auto")
    return flag == "always";
  const char *term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR") &&
         !(term && std::string_view(term) == "dumb");
}

void report(const Model &model, const Batch &batch, size_t prompts,
            double elapsed) {
  int64_t tokens = 0, depth = 0;
  for (size_t i = 0; i < prompts; ++i) {
    tokens += int64_t(batch.status(i).ids.size());
    for (int32_t d : batch.status(i).exitDepth)
      depth += d;
  }
  if (!tokens)
    return;
  std::fprintf(stderr, "%lld tokens, %.1f tokens/s, mean depth %.2f of %lld\n",
               static_cast<long long>(tokens), double(tokens) / elapsed,
               double(depth) / double(tokens),
               static_cast<long long>(model.artifact.manifest().model.layers));
}

int generate(GenerateFlags flags) {
  for (auto [name, given] : {std::pair("--kv-hash", flags.kvHash),
                             std::pair("--logit-hash", flags.logitHash)})
    if (given && !flags.json)
      throw CommandError(std::string(name) + " needs --json");
  if (!flags.traceFile.empty())
    need(ee::Output::check(flags.traceFile));
  catchInterrupt();
  Model model(flags.model);
  needDecoder(model);
  refuseOtherInputs(model);
  std::vector<Prompt> prompts = readPrompts(flags, model);
  flags.count =
      countOf(flags, prompts, model.artifact.manifest().model.maxPosition);
  bool stream = !flags.json && prompts.size() == 1;
  bool color = wantsColor(flags.color);
  TokenPrinter printer(model, color);
  Watcher watcher(model, stream ? &printer : nullptr, !flags.traceFile.empty());
  Batch batch(flags, model, prompts, &watcher);
  if (stream && isatty(STDOUT_FILENO) && !prompts[0].text.empty())
    std::printf("%s%s%s", color ? "\033[2m" : "", prompts[0].text.c_str(),
                color ? "\033[0m" : "");
  double start = seconds();
  batch.run(flags.json || prompts.size() > 1);
  double elapsed = seconds() - start;
  if (stream)
    printer.end();
  for (size_t i = 0; i < prompts.size() && !stream; ++i) {
    const ee::RequestStatus &status = batch.status(i);
    if (flags.json) {
      json object = resultJson(flags, model, prompts[i], status);
      if (flags.kvHash)
        object["kv_hash"] = batch.kvHashes(i);
      std::printf("%s\n", object.dump().c_str());
      continue;
    }
    std::printf("[%zu] ", i + 1);
    TokenPrinter line(model, color);
    for (size_t t = 0; t < status.ids.size(); ++t)
      line.token(status.ids[t], status.exitDepth[t]);
    line.end();
  }
  if (!flags.traceFile.empty())
    writeFile(flags.traceFile, watcher.traceText);
  if (!flags.json && isatty(STDERR_FILENO)) {
    report(model, batch, prompts.size(), elapsed);
    printer.legend();
  }
  return interrupted() ? interruptedCode : 0;
}

} // namespace

void addGenerate(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "generate",
      "Generate text. Streams one prompt; several run as one batch.");
  auto flags = std::make_shared<GenerateFlags>();
  flags->model.add(*command);
  addPromptFlags(*command, *flags);
  command->add_flag("--json", flags->json, "One JSON object per prompt");
  command->add_flag("--logit-hash", flags->logitHash,
                    "With --json: a 64-bit hash of each token's logit bits");
  command->add_flag("--kv-hash", flags->kvHash,
                    "With --json: pay all KV debts and hash the KV per level");
  command->add_option("--trace", flags->traceFile,
                      "Write criteria and decisions per token (JSON lines)");
  command->add_option("--color", flags->color, "Colour tokens by exit depth")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->callback([flags, &exitCode] { exitCode = generate(*flags); });
}

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

void refuseOtherInputs(const ee::Manifest &m, const std::string &path) {
  if (m.kind != ee::ArtifactKind::Decoder)
    throw CommandError(ee::inQuotes(path) +
                       " is not a decoder: use ee-run run");
  for (const ee::ModelInput &input : m.model.inputs)
    if (input.role == ee::InputRole::Other)
      throw CommandError("the model input " + ee::inQuotes(input.name) +
                         " cannot be fed by generate: use ee-run run");
}

bool wantsColor(const std::string &flag) {
  if (flag != "auto")
    return flag == "always";
  const char *term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) && !std::getenv("NO_COLOR") &&
         !(term && std::string_view(term) == "dumb");
}

ee::Request makeRequest(const GenerateFlags &flags, const Model &model,
                        const Prompt &prompt) {
  ee::Request request;
  request.prompt = prompt.ids;
  request.maxNewTokens = *flags.count;
  request.sampler.temperature = float(flags.temperature);
  request.sampler.top_p = float(flags.topP);
  request.sampler.min_p = float(flags.minP);
  if (flags.topK < 0 || flags.topK > INT32_MAX)
    throw CommandError("--top-k must be 0 (off) or more");
  request.sampler.top_k = int32_t(flags.topK);
  request.sampler.seed = flags.seed;
  request.eos = endIds(flags.eos, model);
  request.promptExits = model.policy.promptExits;
  request.logitHash = flags.logitHash;
  request.keepKv = flags.kvHash;
  return request;
}

/// A hash per level over the stored pages, in order of position.
json kvHashes(ee::Session &session, ee::Ticket ticket, int64_t pagePositions) {
  json list = json::array();
  for (int32_t level = 0; level < session.kvLevels(); ++level) {
    uint64_t hash = 0xcbf29ce484222325u;
    int64_t stored = session.kvStored(ticket, level);
    for (int64_t page = 0; page * pagePositions < stored; ++page)
      for (uint8_t byte : need(session.kvPage(ticket, level, page)))
        hash = (hash ^ byte) * 0x100000001b3u;
    char hex[17];
    std::snprintf(hex, sizeof hex, "%016llx",
                  static_cast<unsigned long long>(hash));
    list.push_back(hex);
  }
  return list;
}

void report(const Model &model,
            const std::vector<const ee::RequestStatus *> &all, double elapsed) {
  int64_t tokens = 0, depth = 0;
  for (const ee::RequestStatus *status : all) {
    tokens += int64_t(status->ids.size());
    for (int32_t d : status->exitDepth)
      depth += d;
  }
  if (!tokens)
    return;
  std::fprintf(stderr, "%lld tokens, %.1f tokens/s, mean depth %.2f of %lld\n",
               static_cast<long long>(tokens), double(tokens) / elapsed,
               double(depth) / double(tokens),
               static_cast<long long>(model.artifact.manifest().model.layers));
}

/// Steps until all is done or Ctrl-C. With --preempt-every, requests are taken
/// off now and then; results must not change.
void serve(ee::Session &session, const std::vector<ee::Ticket> &tickets,
           const GenerateFlags &flags) {
  bool showProgress = flags.json || tickets.size() > 1;
  double shown = 0;
  for (int64_t wave = 1;; ++wave) {
    bool more = need(session.step());
    if (std::ferror(stdout))
      checkStdout(); // nobody reads what would come
    if (interrupted())
      for (ee::Ticket ticket : tickets)
        session.cancel(ticket);
    if (!more || interrupted())
      break;
    if (flags.preemptEvery && wave % flags.preemptEvery == 0)
      session.preempt(
          tickets[size_t(wave / flags.preemptEvery) % tickets.size()]);
    if (showProgress && seconds() - shown > 0.2) {
      shown = seconds();
      int64_t tokens = 0;
      for (ee::Ticket ticket : tickets)
        tokens += int64_t(session.poll(ticket)->ids.size());
      progress(std::to_string(tokens) + " tokens");
    }
  }
  if (showProgress)
    progress("");
}

/// How many tokens to generate behind a prompt of `longest`: what -n says,
/// which must fit, or the default cut to what fits.
int64_t countOf(const GenerateFlags &flags, int64_t longest,
                int64_t positions) {
  if (longest > positions)
    throw CommandError("a prompt has " + std::to_string(longest) +
                       " tokens, the model has " + std::to_string(positions) +
                       " positions");
  // The last token is returned, not fed.
  int64_t room = positions - longest + 1;
  if (!flags.count)
    return std::min(defaultCount, room);
  if (*flags.count < 1 || *flags.count > room)
    throw CommandError(
        "-n is " + std::to_string(*flags.count) + ", accepted are 1 to " +
        std::to_string(room) + ": the model has " + std::to_string(positions) +
        " positions, the longest prompt " + std::to_string(longest));
  return *flags.count;
}

int generate(GenerateFlags flags) {
  if (flags.preemptEvery < 0)
    throw CommandError("--preempt-every must be 0 (off) or more");
  for (auto [name, given] : {std::pair("--kv-hash", flags.kvHash),
                             std::pair("--logit-hash", flags.logitHash)})
    if (given && !flags.json)
      throw CommandError(std::string(name) + " needs --json");
  if (!flags.traceFile.empty())
    need(ee::Output::check(flags.traceFile));
  catchInterrupt();
  Model model(flags.model);
  needDecoder(model);
  const ee::Manifest &m = model.artifact.manifest();
  refuseOtherInputs(m, flags.model.artifact);
  std::vector<Prompt> prompts = readPrompts(flags, model);
  int64_t longest = 0;
  for (const Prompt &prompt : prompts)
    longest = std::max(longest, int64_t(prompt.ids.size()));
  flags.count = countOf(flags, longest, m.model.maxPosition);
  ee::SessionOptions options = model.session(
      flags.model, longest + *flags.count - 1, int64_t(prompts.size()));
  if (flags.kvHash) {
    options.completeKv = true;
    options.maxSequences =
        std::max(options.maxSequences, int64_t(prompts.size()));
    options.maxRows = std::max(options.maxRows, options.maxSequences);
  }
  bool stream = !flags.json && prompts.size() == 1;
  bool color = wantsColor(flags.color);
  TokenPrinter printer(model, color);
  Watcher watcher(model, stream ? &printer : nullptr, !flags.traceFile.empty());
  options.observer = &watcher;
  auto session = need(ee::Session::create(model.artifact, options));
  std::vector<std::vector<int32_t>> scripts(prompts.size()),
      forced(prompts.size());
  if (!flags.scriptFile.empty())
    scripts = readIdLists(flags.scriptFile, "--script", prompts.size());
  if (!flags.forceFile.empty())
    forced = readIdLists(flags.forceFile, "--force-ids", prompts.size());
  std::vector<ee::Ticket> tickets;
  for (size_t i = 0; i < prompts.size(); ++i) {
    ee::Request request = makeRequest(flags, model, prompts[i]);
    request.script = scripts[i];
    request.forced = forced[i];
    auto ticket = session->submit(std::move(request));
    if (!ticket)
      throw CommandError("prompt " + std::to_string(i + 1) + ": " +
                         ticket.error());
    tickets.push_back(*ticket);
  }
  if (stream && isatty(STDOUT_FILENO) && !prompts[0].text.empty())
    std::printf("%s%s%s", color ? "\033[2m" : "", prompts[0].text.c_str(),
                color ? "\033[0m" : "");
  double start = seconds();
  serve(*session, tickets, flags);
  double elapsed = seconds() - start;
  std::vector<const ee::RequestStatus *> all;
  for (ee::Ticket ticket : tickets)
    all.push_back(session->poll(ticket));
  if (stream)
    printer.end();
  for (size_t i = 0; i < prompts.size() && !stream; ++i) {
    json object = resultJson(flags, model, prompts[i], *all[i]);
    if (flags.kvHash)
      object["kv_hash"] = kvHashes(*session, tickets[i], m.pagePositions);
    if (flags.json) {
      std::printf("%s\n", object.dump().c_str());
      continue;
    }
    std::printf("[%zu] ", i + 1);
    TokenPrinter line(model, color);
    for (size_t t = 0; t < all[i]->ids.size(); ++t)
      line.token(all[i]->ids[t], all[i]->exitDepth[t]);
    line.end();
  }
  if (!flags.traceFile.empty())
    writeFile(flags.traceFile, watcher.traceText);
  if (!flags.json && isatty(STDERR_FILENO)) {
    report(model, all, elapsed);
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
  command
      ->add_option("-p,--prompt", flags->prompts,
                   "Text to continue, taken as it is; repeatable")
      ->allow_extra_args(false);
  command->add_option("--prompts", flags->promptsFile,
                      "File with a prompt per line; \\n and \\t are escapes, "
                      "empty lines are skipped");
  command->add_option("--ids", flags->idsFile,
                      "File with a list of token ids per line");
  command->add_option("-n,--tokens", flags->count,
                      "Most tokens to generate (default: 128, or what the "
                      "model's positions leave behind the longest prompt)");
  command
      ->add_option("--temp", flags->temperature,
                   "Temperature; 0 takes the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", flags->topK, "Keep the k likeliest; 0 = off")
      ->capture_default_str();
  command
      ->add_option("--top-p", flags->topP,
                   "Keep the likeliest of this total probability; 1 = off")
      ->capture_default_str();
  command
      ->add_option("--min-p", flags->minP,
                   "Keep what has this share of the likeliest's "
                   "probability; 0 = off")
      ->capture_default_str();
  command->add_option("--seed", flags->seed, "Seed of sampling")
      ->capture_default_str();
  command->add_option("--eos", flags->eos,
                      "Ids that end the text, or none (default: the "
                      "artifact's)");
  command->add_option("--script", flags->scriptFile,
                      "File with a list per prompt: the exit that each token "
                      "takes (-1 by criterion, -2 full depth)");
  command->add_option("--force-ids", flags->forceFile,
                      "File with a list of ids per prompt to take instead of "
                      "what was sampled");
  command->add_flag("--json", flags->json, "One JSON object per prompt");
  command->add_flag("--logit-hash", flags->logitHash,
                    "With --json: a 64-bit hash of each token's logit bits");
  command->add_flag("--kv-hash", flags->kvHash,
                    "With --json: pay all KV debts and hash the KV per level");
  command->add_option("--trace", flags->traceFile,
                      "Write criteria and decisions per token (JSON lines)");
  command->add_option("--preempt-every", flags->preemptEvery,
                      "Preempt a prompt every so many waves (results must not "
                      "change)");
  command->add_option("--color", flags->color, "Colour tokens by exit depth")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->callback([flags, &exitCode] { exitCode = generate(*flags); });
}

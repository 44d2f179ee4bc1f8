// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Prompts served together, as `generate` and `compare` do; see generate.h.
#include "generate.h"

#include "ee/file.h"

#include <algorithm>
#include <cstdio>

namespace {

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

int64_t longestOf(const std::vector<Prompt> &prompts) {
  int64_t longest = 0;
  for (const Prompt &prompt : prompts)
    longest = std::max(longest, int64_t(prompt.ids.size()));
  return longest;
}

} // namespace

std::string hexText(uint64_t value) {
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx",
                static_cast<unsigned long long>(value));
  return hex;
}

void refuseOtherInputs(const Model &model) {
  for (const ee::ModelInput &input : model.artifact.manifest().model.inputs)
    if (input.role == ee::InputRole::Other)
      throw CommandError("the model input " + ee::inQuotes(input.name) +
                         " cannot be fed by generate: use ee-run run");
}

int64_t countOf(const GenerateFlags &flags, const std::vector<Prompt> &prompts,
                int64_t positions) {
  int64_t longest = longestOf(prompts);
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

Batch::Batch(const GenerateFlags &flags, const Model &model,
             const std::vector<Prompt> &prompts, ee::SessionObserver *observer)
    : flags(flags), pagePositions(model.artifact.manifest().pagePositions) {
  if (flags.preemptEvery < 0)
    throw CommandError("--preempt-every must be 0 (off) or more");
  int64_t count = int64_t(prompts.size());
  ee::SessionOptions options =
      model.session(flags.model, longestOf(prompts) + *flags.count - 1, count);
  if (flags.kvHash) {
    options.completeKv = true;
    options.maxSequences = std::max(options.maxSequences, count);
    options.maxRows = std::max(options.maxRows, options.maxSequences);
  }
  options.observer = observer;
  session = need(ee::Session::create(model.artifact, options));
  std::vector<std::vector<int32_t>> scripts(prompts.size()),
      forced(prompts.size());
  if (!flags.scriptFile.empty())
    scripts = readIdLists(flags.scriptFile, "--script", prompts.size());
  if (!flags.forceFile.empty())
    forced = readIdLists(flags.forceFile, "--force-ids", prompts.size());
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
}

void Batch::run(bool showProgress) {
  double shown = 0;
  for (int64_t wave = 1;; ++wave) {
    bool more = need(session->step());
    if (std::ferror(stdout))
      checkStdout(); // nobody reads what would come
    if (interrupted())
      for (ee::Ticket ticket : tickets)
        session->cancel(ticket);
    if (!more || interrupted())
      break;
    if (flags.preemptEvery && wave % flags.preemptEvery == 0)
      session->preempt(
          tickets[size_t(wave / flags.preemptEvery) % tickets.size()]);
    if (showProgress && seconds() - shown > 0.2) {
      shown = seconds();
      int64_t tokens = 0;
      for (ee::Ticket ticket : tickets)
        tokens += int64_t(session->poll(ticket)->ids.size());
      progress(std::to_string(tokens) + " tokens");
    }
  }
  if (showProgress)
    progress("");
}

const ee::RequestStatus &Batch::status(size_t prompt) const {
  return *session->poll(tickets[prompt]);
}

std::vector<std::string> Batch::kvHashes(size_t prompt) const {
  std::vector<std::string> list;
  ee::Ticket ticket = tickets[prompt];
  for (int32_t level = 0; level < session->kvLevels(); ++level) {
    uint64_t hash = 0xcbf29ce484222325u;
    int64_t stored = session->kvStored(ticket, level);
    for (int64_t page = 0; page * pagePositions < stored; ++page)
      for (uint8_t byte : need(session->kvPage(ticket, level, page)))
        hash = (hash ^ byte) * 0x100000001b3u;
    list.push_back(hexText(hash));
  }
  return list;
}

void addPromptFlags(CLI::App &command, GenerateFlags &flags) {
  command
      .add_option("-p,--prompt", flags.prompts,
                  "Text to continue, taken as it is; repeatable")
      ->allow_extra_args(false);
  command.add_option("--prompts", flags.promptsFile,
                     "File with a prompt per line; \\n and \\t are escapes, "
                     "empty lines are skipped");
  command.add_option("--ids", flags.idsFile,
                     "File with a list of token ids per line");
  command.add_option("-n,--tokens", flags.count,
                     "Most tokens to generate (default: 128, or what the "
                     "model's positions leave behind the longest prompt)");
  command
      .add_option("--temp", flags.temperature,
                  "Temperature; 0 takes the likeliest token")
      ->capture_default_str();
  command.add_option("--top-k", flags.topK, "Keep the k likeliest; 0 = off")
      ->capture_default_str();
  command
      .add_option("--top-p", flags.topP,
                  "Keep the likeliest of this total probability; 1 = off")
      ->capture_default_str();
  command
      .add_option("--min-p", flags.minP,
                  "Keep what has this share of the likeliest's "
                  "probability; 0 = off")
      ->capture_default_str();
  command.add_option("--seed", flags.seed, "Seed of sampling")
      ->capture_default_str();
  command.add_option("--eos", flags.eos,
                     "Ids that end the text, or none (default: the "
                     "artifact's)");
  command.add_option("--script", flags.scriptFile,
                     "File with a list per prompt: the exit that each token "
                     "takes (-1 by criterion, -2 full depth)");
  command.add_option("--force-ids", flags.forceFile,
                     "File with a list of ids per prompt to take instead of "
                     "what was sampled");
  command.add_option("--preempt-every", flags.preemptEvery,
                     "Preempt a prompt every so many waves (results must not "
                     "change)");
}

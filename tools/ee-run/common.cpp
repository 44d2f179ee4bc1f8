// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Shared parts of the subcommands; see common.h.
#include "common.h"

#include "ee/cpus.h"
#include "ee/file.h"
#include "ee/output.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sys/resource.h>
#include <unistd.h>

void ModelFlags::addDevice(CLI::App &command) {
  command
      .add_option("--device", device,
                  "Where the model runs: cpu, sim (a GPU, simulated) or cuda; "
                  "guarded is the CPU with device memory fenced off, to debug "
                  "the runtime")
      ->capture_default_str();
  command.add_flag("--sim-check", simCheck,
                   "With --device=sim: end with an error at a race, a read of "
                   "memory never written, or a .nc load of what is written");
  command.add_option("--sim-seed", simSeed,
                     "With --device=sim: a random order of CTAs, warps and "
                     "lanes (default: in order)");
}

void ModelFlags::add(CLI::App &command, bool serving) {
  command.add_option("model", artifact, "Artifact made by ee-opt")
      ->required()
      ->type_name("DIR");
  addDevice(command);
  command.add_option("--cpu-level", cpuLevel,
                     "Force a CPU level: x86-64-v3 or avx512 (default: the "
                     "best that this CPU runs)");
  if (!serving)
    return;
  command.add_option("-t,--threads", threads,
                     "Threads of the team (default: the CPUs that affinity and "
                     "the control group leave)");
  command.add_option("--policy", policyFile,
                     "policy.toml laid over the artifact's");
  command.add_flag("--force-full", forceFull, "No token leaves early");
  command
      .add_option("--threshold", thresholds,
                  "EXIT=X: threshold of an exit by name or index, in logit "
                  "space; EXIT=never switches it off; repeatable")
      ->allow_extra_args(false);
  command.add_option("--min-depth", minDepth,
                     "Layers a token must run before it leaves");
  command.add_option("--max-depth", maxDepth,
                     "Tokens leave at the first exit at least this deep");
  command.add_option("--chunk", chunk, "Prompt tokens per sequence and wave")
      ->capture_default_str();
  command.add_option("--max-rows", maxRows, "Tokens per wave")
      ->capture_default_str();
  command.add_option("--batch", batch, "Sequences that run at the same time")
      ->capture_default_str();
  command.add_option("--shuffle-pages", shufflePages,
                     "Seed that shuffles where KV pages lie (results must not "
                     "change)");
  command
      .add_option("--debt-cap", debtCap,
                  "Tokens of a sequence that may owe KV before it is paid")
      ->capture_default_str();
  command.add_option("--kv-pages", kvPages,
                     "KV pages per level (default: enough; fewer preempt)");
}

void needDecoder(const Model &model) {
  const std::string &path = model.artifact.path();
  if (model.artifact.manifest().kind != ee::ArtifactKind::Decoder)
    throw CommandError(ee::inQuotes(path) +
                       " is a function, not a decoder: use ee-run run " + path +
                       " --input NAME=@FILE.npy");
}

int64_t threadsOf(const ModelFlags &flags) {
  constexpr int64_t most = 1024; // as a session says
  if (!flags.threads)
    return std::min(most, ee::usableCpus());
  if (*flags.threads < 1 || *flags.threads > most)
    throw CommandError("-t is " + std::to_string(*flags.threads) +
                       ", accepted are 1 to " + std::to_string(most));
  return *flags.threads;
}

static ee::Artifact openLoaded(const ModelFlags &flags) {
  ee::Artifact artifact = need(ee::Artifact::open(flags.artifact));
  ee::ArtifactOptions options;
  options.device = need(ee::parseDeviceKind(flags.device));
  if (options.device != ee::DeviceKind::Sim && flags.simCheck)
    throw CommandError("--sim-check needs --device=sim");
  if (options.device != ee::DeviceKind::Sim && flags.simSeed)
    throw CommandError("--sim-seed needs --device=sim");
  options.cpuLevel = flags.cpuLevel;
  need(artifact.load(options));
  return artifact;
}

Model::Model(const ModelFlags &flags) : artifact(openLoaded(flags)) {
  (void)threadsOf(flags); // refused whatever runs, and before it does
  const ee::Manifest &m = artifact.manifest();
  if (m.tokenizer)
    tokenizer =
        need(ee::Tokenizer::load(need(artifact.openFile(*m.tokenizer))));
  if (m.kind != ee::ArtifactKind::Decoder)
    return;
  policy = ee::defaultPolicy(m);
  constexpr uint64_t maxPolicyBytes = 1 << 20;
  if (m.policy)
    need(ee::applyPolicyToml(
        policy, m,
        need(need(artifact.openFile(*m.policy)).readAll(maxPolicyBytes)),
        m.files[*m.policy].path));
  if (!flags.policyFile.empty())
    need(ee::applyPolicyToml(policy, m, readTextFile(flags.policyFile),
                             flags.policyFile));
  for (const std::string &setting : flags.thresholds)
    need(ee::applyThreshold(policy, m, setting));
  if (flags.forceFull)
    policy.record.force_full = 1;
  for (auto [name, flag, field] :
       {std::tuple("--min-depth", flags.minDepth, &policy.record.min_depth),
        std::tuple("--max-depth", flags.maxDepth, &policy.record.max_depth)}) {
    if (!flag)
      continue;
    if (*flag < 0 || *flag > m.model.layers)
      throw CommandError(std::string(name) + " is " + std::to_string(*flag) +
                         ", accepted are 0 to " +
                         std::to_string(m.model.layers));
    *field = *flag;
  }
}

ee::SessionOptions Model::session(const ModelFlags &flags, int64_t length,
                                  int64_t requests) const {
  ee::SessionOptions options;
  options.threads = threadsOf(flags);
  options.simCheck = flags.simCheck;
  options.simSeed = flags.simSeed.value_or(0);
  options.maxSequences = std::min({flags.batch, std::max<int64_t>(1, requests),
                                   std::max<int64_t>(1, flags.maxRows)});
  if (flags.batch < 1)
    throw CommandError("--batch is " + std::to_string(flags.batch) +
                       ", accepted are 1 and more");
  options.maxRows = flags.maxRows;
  options.chunk = flags.chunk;
  int64_t limit = artifact.manifest().model.maxPosition;
  if (length > limit)
    throw CommandError("prompt and new tokens need " + std::to_string(length) +
                       " positions, the model has " + std::to_string(limit));
  options.maxLength = std::max<int64_t>(1, length);
  options.kvPages = flags.kvPages;
  options.shuffleSeed = flags.shufflePages;
  options.debtCap = flags.debtCap;
  options.policies = {policy.record};
  return options;
}

const ee::Tokenizer &Model::needTokenizer(const char *instead) const {
  if (!tokenizer)
    throw CommandError("the artifact has no tokenizer: " +
                       std::string(instead));
  return *tokenizer;
}

std::vector<int32_t> Model::encode(std::string_view text) const {
  auto ids = need(needTokenizer("give token ids with --ids").encode(text));
  int64_t vocab = artifact.manifest().model.vocab;
  for (ee::TokenId id : ids)
    if (int64_t(id) >= vocab)
      throw CommandError("the tokenizer gives id " + std::to_string(id) +
                         ", the model has " + std::to_string(vocab));
  return {ids.begin(), ids.end()};
}

std::string readTextFile(const std::string &path) {
  constexpr uint64_t maxBytes = uint64_t(256) << 20;
  return need(need(ee::File::open(path, maxBytes)).readAll(maxBytes));
}

void writeFile(const std::string &path, std::string_view contents) {
  flushStdout();
  need(ee::writeOutput(path, contents));
}

static int stdoutError = 0;

void flushStdout() {
  if (std::fflush(stdout) != 0 && stdoutError == 0)
    stdoutError = errno;
}

void checkStdout() {
  flushStdout();
  // The stream forgets why; only a flush of ours knows.
  if (stdoutError)
    throw CommandError(std::string("cannot write to standard output: ") +
                       std::strerror(stdoutError));
  if (std::ferror(stdout))
    throw CommandError("cannot write to standard output");
}

std::vector<std::string> splitLines(const std::string &text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    size_t length = end - begin;
    if (length && text[end - 1] == '\r')
      --length;
    lines.push_back(text.substr(begin, length));
    begin = end + 1;
  }
  return lines;
}

std::vector<int32_t> parseIds(std::string_view text, const std::string &what) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < text.size();) {
    if (std::strchr(" \t,[]", text[i])) {
      ++i;
      continue;
    }
    int32_t id = 0;
    auto [end, error] =
        std::from_chars(text.data() + i, text.data() + text.size(), id);
    if (error != std::errc())
      throw CommandError(what + ": integers are accepted, not " +
                         ee::inQuotes(text.substr(i)));
    ids.push_back(id);
    i = size_t(end - text.data());
  }
  return ids;
}

static volatile std::sig_atomic_t interruptFlag = 0;

void catchInterrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interruptFlag = 1; };
  action.sa_flags = int(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interruptFlag != 0; }

int64_t peakMemory() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t(usage.ru_maxrss) * 1024;
}

double seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void progress(const std::string &text) {
  if (isatty(STDERR_FILENO))
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

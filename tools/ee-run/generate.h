// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Flags of `generate`, and how its prompts come in and its results go out.
#ifndef EE_RUN_GENERATE_H
#define EE_RUN_GENERATE_H

#include "common.h"

#include <nlohmann/json_fwd.hpp>

/// Tokens to generate when nobody says how many.
inline constexpr int64_t defaultCount = 128;

struct GenerateFlags {
  ModelFlags model;
  std::vector<std::string> prompts;
  std::string promptsFile, idsFile, scriptFile, forceFile, traceFile, eos;
  std::optional<int64_t> count; ///< none: `defaultCount`, or what fits
  double temperature = 0, topP = 1, minP = 0;
  int64_t topK = 0;
  uint64_t seed = 0;
  bool json = false, logitHash = false, kvHash = false;
  int64_t preemptEvery = 0;
  std::string color = "auto";
};

/// One thing to generate.
struct Prompt {
  std::string text;
  std::vector<int32_t> ids;
};

/// What `-p`, `--prompts` or `--ids` give. In a prompts file `\n`, `\t` and
/// `\\` are escapes and empty lines are skipped.
std::vector<Prompt> readPrompts(const GenerateFlags &flags, const Model &model);

/// A line of a prompts file with its escapes replaced.
std::string unescape(std::string_view line, const std::string &where);

/// One list of integers per line, one line per prompt.
std::vector<std::vector<int32_t>> readIdLists(const std::string &path,
                                              const char *flag, size_t prompts);

/// Registers the flags about prompts, sampling and scripts.
void addPromptFlags(CLI::App &command, GenerateFlags &flags);

/// Throws for a decoder with an input that prompts do not feed.
void refuseOtherInputs(const Model &model);

/// How many tokens to generate behind the longest prompt: what -n says, which
/// must fit into `positions`, or the default cut to what fits.
int64_t countOf(const GenerateFlags &flags, const std::vector<Prompt> &prompts,
                int64_t positions);

/// Prompts that are served together, each for `*flags.count` tokens. Flags and
/// model must live longer.
class Batch {
public:
  Batch(const GenerateFlags &flags, const Model &model,
        const std::vector<Prompt> &prompts, ee::SessionObserver *observer);
  /// Steps until all is done or Ctrl-C. With --preempt-every, requests are
  /// taken off now and then; results must not change.
  void run(bool showProgress);
  const ee::RequestStatus &status(size_t prompt) const;
  /// With --kv-hash: a hash per level over the stored pages, in order of
  /// position.
  std::vector<std::string> kvHashes(size_t prompt) const;

private:
  const GenerateFlags &flags;
  int64_t pagePositions;
  std::unique_ptr<ee::Session> session;
  std::vector<ee::Ticket> tickets;
};

/// 16 digits: 64 bits do not survive JSON readers that use doubles.
std::string hexText(uint64_t value);

/// Ids that end the text: `--eos`, or the artifact's.
std::vector<int32_t> endIds(const std::string &flag, const Model &model);

/// Writes tokens to a terminal or a pipe as they come, coloured by depth.
class TokenPrinter {
public:
  TokenPrinter(const Model &model, bool color);
  void token(int32_t id, int32_t depth);
  void end();
  /// A line on stderr that explains the colours.
  void legend() const;

private:
  void write(const std::string &text, int32_t depth);
  std::string code(int32_t depth) const;

  const Model &model;
  std::optional<ee::StreamDecoder> decoder;
  bool color;
  char lastByte = 0; ///< of what was written
  int32_t lastDepth = 0;
};

/// The JSON object of a finished prompt.
nlohmann::json resultJson(const GenerateFlags &flags, const Model &model,
                          const Prompt &prompt,
                          const ee::RequestStatus &status);

const char *finishName(ee::FinishReason reason);

#endif // EE_RUN_GENERATE_H

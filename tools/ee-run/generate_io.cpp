// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Prompts in, tokens out; see generate.h.
#include "generate.h"

#include "ee/file.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

std::string unescape(std::string_view line, const std::string &where) {
  std::string out;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\') {
      out += line[i];
      continue;
    }
    char next = i + 1 < line.size() ? line[++i] : '\0';
    if (next == 'n')
      out += '\n';
    else if (next == 't')
      out += '\t';
    else if (next == '\\')
      out += '\\';
    else
      throw CommandError(where + ": \\n, \\t and \\\\ are accepted as escapes");
  }
  return out;
}

std::vector<Prompt> readPrompts(const GenerateFlags &flags,
                                const Model &model) {
  int sources = !flags.prompts.empty() + !flags.promptsFile.empty() +
                !flags.idsFile.empty();
  if (sources != 1)
    throw CommandError("give one of -p TEXT, --prompts FILE, --ids FILE");
  std::vector<Prompt> prompts;
  for (const std::string &text : flags.prompts)
    prompts.push_back({text, model.encode(text)});
  const std::string &file =
      flags.idsFile.empty() ? flags.promptsFile : flags.idsFile;
  if (file.empty())
    return prompts;
  std::vector<std::string> lines = splitLines(readTextFile(file));
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string where = file + ":" + std::to_string(i + 1);
    if (lines[i].empty())
      continue;
    Prompt prompt;
    if (flags.idsFile.empty()) {
      prompt.text = unescape(lines[i], where);
      prompt.ids = model.encode(prompt.text);
    } else {
      prompt.ids = parseIds(lines[i], where);
    }
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty())
    throw CommandError(ee::inQuotes(file) + " has no prompts");
  return prompts;
}

std::vector<std::vector<int32_t>>
readIdLists(const std::string &path, const char *flag, size_t prompts) {
  std::vector<std::vector<int32_t>> lists;
  std::vector<std::string> lines = splitLines(readTextFile(path));
  for (size_t i = 0; i < lines.size(); ++i)
    lists.push_back(parseIds(lines[i], path + ":" + std::to_string(i + 1)));
  if (lists.size() != prompts)
    throw CommandError(std::string(flag) + " " + ee::inQuotes(path) + " has " +
                       std::to_string(lists.size()) + " lines, there are " +
                       std::to_string(prompts) + " prompts");
  return lists;
}

std::vector<int32_t> endIds(const std::string &flag, const Model &model) {
  if (flag.empty())
    return model.artifact.manifest().model.eos;
  if (flag == "none")
    return {};
  std::vector<int32_t> ids = parseIds(flag, "--eos");
  for (int32_t id : ids)
    if (id < 0 || id >= model.artifact.manifest().model.vocab)
      throw CommandError("--eos " + std::to_string(id) +
                         " is outside of the vocabulary of " +
                         std::to_string(model.artifact.manifest().model.vocab));
  return ids;
}

TokenPrinter::TokenPrinter(const Model &model, bool color)
    : model(model), color(color) {
  if (model.tokenizer)
    decoder.emplace(*model.tokenizer);
}

/// From blue (cheap) over green to red (as deep as the model goes); tokens of
/// full depth keep the terminal's own colour.
std::string TokenPrinter::code(int32_t depth) const {
  static constexpr int palette[] = {33, 39, 43, 41, 76, 148, 220, 214, 208};
  constexpr int count = int(std::size(palette));
  int64_t layers = model.artifact.manifest().model.layers;
  if (depth >= layers || depth <= 0)
    return "\033[0m";
  int index = std::min<int>(count - 1, int(depth * count / layers));
  return "\033[38;5;" + std::to_string(palette[index]) + "m";
}

void TokenPrinter::write(const std::string &text, int32_t depth) {
  if (text.empty())
    return;
  if (color)
    std::fputs(code(depth).c_str(), stdout);
  std::fwrite(text.data(), 1, text.size(), stdout);
  lastByte = text.back();
  if (color)
    std::fputs("\033[0m", stdout);
  flushStdout();
}

void TokenPrinter::token(int32_t id, int32_t depth) {
  lastDepth = depth;
  if (decoder)
    write(decoder->push(ee::TokenId(id)), depth);
  else
    write(std::to_string(id) + " ", depth);
}

void TokenPrinter::end() {
  if (decoder)
    write(decoder->flush(), lastDepth);
  if (lastByte != '\n')
    std::fputc('\n', stdout);
  flushStdout();
}

void TokenPrinter::legend() const {
  const ee::Manifest &m = model.artifact.manifest();
  if (m.exits.empty())
    return;
  std::string line = "depth:";
  for (const ee::ExitEntry &exit : m.exits)
    line += " " + (color ? code(int32_t(exit.depth)) : "") +
            std::to_string(exit.depth) + (color ? "\033[0m" : "");
  std::fprintf(stderr, "%s %lld (full)\n", line.c_str(),
               static_cast<long long>(m.model.layers));
}

const char *finishName(ee::FinishReason reason) {
  switch (reason) {
  case ee::FinishReason::Stop:
    return "stop";
  case ee::FinishReason::Length:
    return "length";
  case ee::FinishReason::Cancelled:
    return "cancelled";
  default:
    return "";
  }
}

nlohmann::json resultJson(const GenerateFlags &flags, const Model &model,
                          const Prompt &prompt,
                          const ee::RequestStatus &status) {
  nlohmann::json out;
  out["prompt_ids"] = prompt.ids;
  out["ids"] = status.ids;
  std::string text;
  if (model.tokenizer)
    text = model.tokenizer->decode(
        std::vector<ee::TokenId>(status.ids.begin(), status.ids.end()));
  out["text"] = text;
  out["exit_depth"] = status.exitDepth;
  out["finish"] = finishName(status.finish);
  double first = status.firstToken - status.submitted;
  double rest = status.lastToken - status.firstToken;
  bool any = !status.ids.empty();
  out["timings"] = {
      {"first_token_ms", any ? first * 1e3 : 0.0},
      {"generate_ms", any ? rest * 1e3 : 0.0},
      {"tokens_per_second", status.ids.size() > 1 && rest > 0
                                ? double(status.ids.size() - 1) / rest
                                : 0.0}};
  if (flags.logitHash) {
    auto &list = out["logit_hash"] = nlohmann::json::array();
    for (uint64_t hash : status.logitHash)
      list.push_back(hexText(hash));
  }
  return out;
}

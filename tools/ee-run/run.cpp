// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run`: a compiled model on given arrays. A decoder is run over whole
// sequences; every row gives logits and the depth at which it left.
#include "commands.h"
#include "ee/file.h"
#include "npy.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>

namespace {

struct RunFlags {
  ModelFlags model;
  std::vector<std::string> inputs, outputs, expects;
  double rtol = 1e-5, atol = 1e-8;
};

/// "name=@file" or, for outputs, "name=file".
std::pair<std::string, std::string> splitBinding(const std::string &text,
                                                 const char *flag) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    throw CommandError(std::string(flag) + " " + ee::inQuotes(text) +
                       " must be NAME=@FILE");
  std::string file = text.substr(equals + 1);
  if (!file.empty() && file[0] == '@')
    file.erase(0, 1);
  if (file.empty())
    throw CommandError(std::string(flag) + " " + ee::inQuotes(text) +
                       " names no file");
  return {text.substr(0, equals), file};
}

NpyArray readNpy(const std::string &path) {
  constexpr uint64_t maxBytes = uint64_t(4) << 30;
  ee::File file = need(ee::File::open(path, maxBytes));
  ee::MappedFile map = need(file.map());
  return need(parseNpy(map.text(), path));
}

std::map<std::string, NpyArray>
readBindings(const std::vector<std::string> &list, const char *flag) {
  std::map<std::string, NpyArray> arrays;
  for (const std::string &text : list) {
    auto [name, file] = splitBinding(text, flag);
    if (!arrays.emplace(name, readNpy(file)).second)
      throw CommandError(std::string(flag) + " gives " + ee::inQuotes(name) +
                         " twice");
  }
  return arrays;
}

/// The shape as NumPy prints it.
std::string shapeText(const std::vector<int64_t> &shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

/// Collects the rows of all sequences.
class Collector : public ee::SessionObserver {
public:
  Collector(float *logits, int64_t *depth, int64_t steps, int64_t vocab)
      : logits(logits), depth(depth), steps(steps), vocab(vocab) {}
  void onLogits(ee::Ticket ticket, int64_t position,
                std::span<const float> row) override {
    int64_t index = int64_t(ticket - 1) * steps + position;
    std::copy(row.begin(), row.end(), logits + index * vocab);
  }
  void onEmission(const ee::Emission &e) override {
    depth[int64_t(e.ticket - 1) * steps + e.position] = e.depth;
  }

private:
  float *logits;
  int64_t *depth;
  int64_t steps, vocab;
};

template <typename T> T *typed(NpyArray &array) {
  return reinterpret_cast<T *>(array.bytes.data());
}

/// Decoders run whole sequences: a mask may say that every row counts, no more.
void refuseMask(const std::string &name, const NpyArray &mask) {
  for (int64_t i = 0; i < mask.elements(); ++i)
    if (npyNumber(mask, i) != 1)
      throw CommandError(
          "input " + ee::inQuotes(name) + " is not 1 at [" +
          std::to_string(i / mask.shape[1]) + ", " +
          std::to_string(i % mask.shape[1]) +
          "]: a decoder runs whole sequences, so sequences of other lengths "
          "are runs of their own");
}

/// A row leaves where a script sends it only when it may leave at all.
void refuseScripted(bool enabled, double exit, int64_t sequence, int64_t step) {
  if (!enabled && exit >= 0)
    throw CommandError("input \"script\" sends row [" +
                       std::to_string(sequence) + ", " + std::to_string(step) +
                       "] out at exit " + std::to_string(int64_t(exit)) +
                       ", but \"enabled\" is false there: -1 and -2 are "
                       "accepted");
}

std::map<std::string, NpyArray>
runDecoder(const Model &model, const RunFlags &flags,
           std::map<std::string, NpyArray> inputs) {
  const ee::Manifest &m = model.artifact.manifest();
  std::string idsName = "input_ids", maskName;
  for (const ee::ModelInput &input : m.model.inputs)
    if (input.role == ee::InputRole::InputIds)
      idsName = input.name;
    else if (input.role == ee::InputRole::AttentionMask)
      maskName = input.name;
  for (auto &[name, array] : inputs) {
    bool isMask = !maskName.empty() && name == maskName;
    if (name != idsName && name != "enabled" && name != "script" && !isMask)
      throw CommandError(
          "no input " + ee::inQuotes(name) + ", accepted are " +
          ee::inQuotes(idsName) + ", \"enabled\" and \"script\"" +
          (maskName.empty() ? "" : ", and ones as " + ee::inQuotes(maskName)));
    bool isBool = array.dtype == "b1", isInteger = array.dtype[0] == 'i';
    if (isMask              ? !isBool && !isInteger
        : name == "enabled" ? !isBool
                            : !isInteger)
      throw CommandError("input " + ee::inQuotes(name) + " has dtype " +
                         array.dtype + ", accepted is " +
                         (isMask              ? "bool or a signed integer"
                          : name == "enabled" ? "bool"
                                              : "a signed integer"));
    if (array.shape.size() != 2)
      throw CommandError("input " + ee::inQuotes(name) + " has shape " +
                         shapeText(array.shape) +
                         ", accepted is (batch, sequence)");
  }
  if (!inputs.count(idsName))
    throw CommandError("input " + ee::inQuotes(idsName) +
                       " is missing: --input " + idsName + "=@FILE");
  const NpyArray &ids = inputs[idsName];
  int64_t batch = ids.shape[0], steps = ids.shape[1], vocab = m.model.vocab;
  for (auto &[name, array] : inputs)
    if (array.shape != ids.shape)
      throw CommandError("input " + ee::inQuotes(name) + " has shape " +
                         shapeText(array.shape) + ", " + ee::inQuotes(idsName) +
                         " has " + shapeText(ids.shape));
  if (batch == 0 || steps == 0)
    throw CommandError("input " + ee::inQuotes(idsName) + " is empty");
  if (inputs.count(maskName))
    refuseMask(maskName, inputs[maskName]);
  int64_t bytes;
  if (__builtin_mul_overflow(batch * steps, vocab * 4, &bytes) ||
      bytes > (int64_t(64) << 30))
    throw CommandError("the logits would need more than 64 GiB: fewer rows "
                       "are accepted");
  NpyArray logits{"f4", {batch, steps, vocab}, {}};
  logits.bytes.resize(size_t(bytes));
  NpyArray depth{"i8", {batch, steps}, {}};
  depth.bytes.resize(size_t(batch * steps * 8));
  Collector collector(typed<float>(logits), typed<int64_t>(depth), steps,
                      vocab);
  ee::SessionOptions options = model.session(flags.model, steps, batch);
  options.observer = &collector;
  auto session = need(ee::Session::create(model.artifact, options));
  for (int64_t b = 0; b < batch; ++b) {
    ee::Request request;
    request.emitAllRows = true;
    for (int64_t i = b * steps; i < (b + 1) * steps; ++i) {
      double id = npyNumber(ids, i);
      if (id < 0 || id >= double(vocab))
        throw CommandError("input " + ee::inQuotes(idsName) + " has id " +
                           std::to_string(int64_t(id)) +
                           ", outside of the vocabulary of " +
                           std::to_string(vocab));
      request.prompt.push_back(int32_t(id));
      bool enabled =
          !inputs.count("enabled") || npyNumber(inputs["enabled"], i) != 0;
      request.promptEnabled.push_back(enabled);
      if (inputs.count("script")) {
        double exit = npyNumber(inputs["script"], i);
        if (std::fabs(exit) > 1e6)
          throw CommandError("input \"script\" has a value out of range");
        refuseScripted(enabled, exit, b, i - b * steps);
        request.promptScript.push_back(int32_t(exit));
      }
    }
    need(session->submit(std::move(request)));
  }
  while (need(session->step()))
    if (interrupted())
      throw CommandError("interrupted");
  return {{"logits", std::move(logits)}, {"exit_depth", std::move(depth)}};
}

/// Compares as numpy.allclose does and says how far off it is.
bool compare(const std::string &name, const NpyArray &got, const NpyArray &want,
             const RunFlags &flags) {
  if (got.shape != want.shape) {
    std::printf("%s: shape %s, expected %s\n", name.c_str(),
                shapeText(got.shape).c_str(), shapeText(want.shape).c_str());
    return false;
  }
  if (want.dtype == "f2")
    throw CommandError("--expect " + ee::inQuotes(name) +
                       ": float16 is not accepted, use float32");
  int64_t bad = 0;
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < got.elements(); ++i) {
    double a = npyNumber(got, i), b = npyNumber(want, i);
    double off = std::fabs(a - b);
    if (a == b || (std::isnan(a) && std::isnan(b)))
      off = 0;
    bool close = off <= flags.atol + flags.rtol * std::fabs(b);
    bad += !close;
    worst = std::max(worst, std::isnan(off) ? INFINITY : off);
    if (std::isfinite(b))
      largest = std::max(largest, std::fabs(b));
  }
  std::printf("%s: max |difference| %.3g, over max |value| %.3g, %lld of %lld "
              "off\n",
              name.c_str(), worst, largest > 0 ? worst / largest : worst,
              static_cast<long long>(bad),
              static_cast<long long>(got.elements()));
  return bad == 0;
}

int run(const RunFlags &flags) {
  if (!(flags.rtol >= 0) || !(flags.atol >= 0))
    throw CommandError("--rtol and --atol must not be negative");
  catchInterrupt();
  auto inputs = readBindings(flags.inputs, "--input");
  auto expects = readBindings(flags.expects, "--expect");
  Model model(flags.model);
  if (model.artifact.manifest().kind != ee::ArtifactKind::Decoder)
    throw CommandError(ee::inQuotes(flags.model.artifact) +
                       " is of kind function, which this version of ee-run "
                       "cannot run; decoders are accepted");
  std::vector<std::pair<std::string, std::string>> outputs;
  for (const std::string &text : flags.outputs)
    outputs.push_back(splitBinding(text, "--output"));
  auto check = [&](const std::string &name, const char *flag) {
    if (name != "logits" && name != "exit_depth")
      throw CommandError(std::string(flag) + ": no output " +
                         ee::inQuotes(name) +
                         ", accepted are \"logits\" and \"exit_depth\"");
  };
  for (auto &[name, file] : outputs)
    check(name, "--output"), checkWritable(file);
  for (auto &[name, array] : expects)
    check(name, "--expect");
  auto results = runDecoder(model, flags, std::move(inputs));
  for (auto &[name, file] : outputs)
    writeFile(file, formatNpy(results[name]));
  if (outputs.empty() && expects.empty())
    for (auto &[name, array] : results)
      std::printf("%s: %s %s\n", name.c_str(), array.dtype.c_str(),
                  shapeText(array.shape).c_str());
  bool ok = true;
  for (auto &[name, array] : expects)
    ok &= compare(name, results[name], array, flags);
  return ok ? 0 : 1;
}

} // namespace

void addRun(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "run", "Run a model on arrays. Decoders take input_ids [b,s], and "
             "optionally enabled [b,s] (which rows may leave; default all) and "
             "script [b,s] (exit index, -1 by criterion, -2 full; an exit "
             "where enabled is false is an error); they give logits [b,s,v] "
             "and exit_depth [b,s]. Their attention mask may be given, but "
             "only as ones.");
  auto flags = std::make_shared<RunFlags>();
  flags->model.add(*command);
  command->add_option("--input", flags->inputs, "NAME=@FILE.npy; repeatable")
      ->allow_extra_args(false);
  command
      ->add_option("--output", flags->outputs,
                   "NAME=FILE.npy to write an output; repeatable")
      ->allow_extra_args(false);
  command
      ->add_option("--expect", flags->expects,
                   "NAME=@FILE.npy to compare an output with; exit code 1 "
                   "when it is off; repeatable")
      ->allow_extra_args(false);
  command->add_option("--rtol", flags->rtol, "Relative tolerance")
      ->capture_default_str();
  command->add_option("--atol", flags->atol, "Absolute tolerance")
      ->capture_default_str();
  command->callback([flags, &exitCode] { exitCode = run(*flags); });
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run` on a decoder.
#include "run.h"

#include "dump.h"

#include "ee/file.h"
#include "ee/output.h"

#include <algorithm>
#include <cmath>

namespace {

/// Collects the rows of all sequences.
class Collector : public ee::SessionObserver {
public:
  Collector(float *logits, int64_t *depth, int64_t steps, int64_t vocab,
            Dumps &dumps)
      : logits(logits), depth(depth), steps(steps), vocab(vocab), dumps(dumps) {
  }
  void onLogits(ee::Ticket ticket, int64_t position,
                std::span<const float> row) override {
    int64_t index = int64_t(ticket - 1) * steps + position;
    std::copy(row.begin(), row.end(), logits + index * vocab);
  }
  void onEmission(const ee::Emission &e) override {
    depth[int64_t(e.ticket - 1) * steps + e.position] = e.depth;
  }
  bool wantsColumns(int32_t stage) const override { return dumps.wants(stage); }
  void onColumns(int32_t, int32_t stage, std::span<const ee::LaunchRow> rows,
                 std::span<const uint8_t> columns) override {
    dumps.take(stage, rows, columns);
  }

private:
  float *logits;
  int64_t *depth;
  int64_t steps, vocab;
  Dumps &dumps;
};

/// The dumps that the flags ask for; their files can be written.
Dumps dumpsOf(const ee::Manifest &manifest, const RunFlags &flags) {
  std::vector<std::pair<std::string, std::string>> wishes;
  for (const std::string &text : flags.dumps)
    wishes.push_back(splitBinding(text, "--dump"));
  Dumps dumps(manifest, wishes);
  for (auto &[name, file] : wishes)
    need(ee::Output::check(file));
  return dumps;
}

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

} // namespace

Arrays runDecoder(const Model &model, const RunFlags &flags, Arrays inputs) {
  const ee::Manifest &m = model.artifact.manifest();
  Dumps dumps = dumpsOf(m, flags);
  std::string idsName = "input_ids", maskName;
  for (const ee::ModelInput &input : m.model.inputs)
    if (input.role == ee::InputRole::InputIds)
      idsName = input.name;
    else if (input.role == ee::InputRole::AttentionMask)
      maskName = input.name;
  // The file's own name, or the usual one.
  if (idsName != "input_ids" && inputs.count("input_ids") &&
      !inputs.count(idsName)) {
    auto usual = inputs.extract("input_ids");
    usual.key() = idsName;
    inputs.insert(std::move(usual));
  }
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
                         shapeOf(array) + ", accepted is (batch, sequence)");
  }
  if (!inputs.count(idsName))
    throw CommandError("input " + ee::inQuotes(idsName) +
                       " is missing: --input " + idsName + "=@FILE");
  const NpyArray &ids = inputs[idsName];
  int64_t batch = ids.shape[0], steps = ids.shape[1], vocab = m.model.vocab;
  for (auto &[name, array] : inputs)
    if (array.shape != ids.shape)
      throw CommandError("input " + ee::inQuotes(name) + " has shape " +
                         shapeOf(array) + ", " + ee::inQuotes(idsName) +
                         " has " + shapeOf(ids));
  if (batch == 0 || steps == 0)
    throw CommandError("input " + ee::inQuotes(idsName) + " is empty");
  if (inputs.count(maskName))
    refuseMask(maskName, inputs[maskName]);
  int64_t bytes;
  if (__builtin_mul_overflow(batch * steps, vocab * 4, &bytes) ||
      bytes > (int64_t(64) << 30))
    throw CommandError("the logits would need more than 64 GiB: fewer rows "
                       "are accepted");
  dumps.start(batch, steps);
  NpyArray logits{"f4", {batch, steps, vocab}, {}};
  logits.bytes.resize(size_t(bytes));
  NpyArray depth{"i8", {batch, steps}, {}};
  depth.bytes.resize(size_t(batch * steps * 8));
  Collector collector(typed<float>(logits), typed<int64_t>(depth), steps, vocab,
                      dumps);
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
  dumps.write();
  return {{"logits", std::move(logits)}, {"exit_depth", std::move(depth)}};
}

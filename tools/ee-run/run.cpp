// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run`: a compiled model on given arrays.
#include "run.h"

#include "commands.h"
#include "ee/file.h"
#include "ee/output.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

NpyArray readNpy(const std::string &path) {
  constexpr uint64_t maxBytes = uint64_t(4) << 30;
  ee::File file = need(ee::File::open(path, maxBytes));
  ee::MappedFile map = need(file.map());
  return need(parseNpy(map.text(), path));
}

Arrays readBindings(const std::vector<std::string> &list, const char *flag) {
  Arrays arrays;
  for (const std::string &text : list) {
    auto [name, file] = splitBinding(text, flag);
    if (!arrays.emplace(name, readNpy(file)).second)
      throw CommandError(std::string(flag) + " gives " + ee::inQuotes(name) +
                         " twice");
  }
  return arrays;
}

/// Compares as numpy.allclose does and says how far off it is.
bool compare(const std::string &name, const NpyArray &got, const NpyArray &want,
             const RunFlags &flags) {
  if (got.shape != want.shape) {
    std::printf("%s: shape %s, expected %s\n", name.c_str(),
                shapeOf(got).c_str(), shapeOf(want).c_str());
    return false;
  }
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
  std::vector<std::pair<std::string, std::string>> outputs;
  for (const std::string &text : flags.outputs)
    outputs.push_back(splitBinding(text, "--output"));
  std::vector<std::string> names = outputNames(model);
  auto check = [&](const std::string &name, const char *flag) {
    if (std::find(names.begin(), names.end(), name) != names.end())
      return;
    std::string list;
    for (const std::string &known : names)
      list += (list.empty() ? "" : ", ") + ee::inQuotes(known);
    throw CommandError(std::string(flag) + ": no output " + ee::inQuotes(name) +
                       ", accepted are " + list);
  };
  for (auto &[name, file] : outputs)
    check(name, "--output"), need(ee::Output::check(file));
  for (auto &[name, array] : expects)
    check(name, "--expect");
  bool isDecoder = model.artifact.manifest().kind == ee::ArtifactKind::Decoder;
  if (!isDecoder && !flags.dumps.empty())
    throw CommandError("--dump shows what is between the stages of a decoder; "
                       "a function has none: add an output to the graph");
  Arrays results = isDecoder ? runDecoder(model, flags, std::move(inputs))
                             : runFunctionModel(model, flags, inputs);
  for (auto &[name, file] : outputs)
    writeFile(file, formatNpy(results[name]));
  if (outputs.empty() && expects.empty())
    for (auto &[name, array] : results)
      std::printf("%s: %s %s\n", name.c_str(), array.dtype.c_str(),
                  shapeOf(array).c_str());
  bool ok = true;
  for (auto &[name, array] : expects)
    ok &= compare(name, results[name], array, flags);
  return ok ? 0 : 1;
}

} // namespace

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

std::string shapeOf(const NpyArray &array) {
  std::string text = "(";
  for (size_t i = 0; i < array.shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(array.shape[i]);
  return text + ")";
}

std::vector<std::string> outputNames(const Model &model) {
  const ee::Manifest &m = model.artifact.manifest();
  if (m.kind == ee::ArtifactKind::Decoder)
    return {"logits", "exit_depth"};
  std::vector<std::string> names;
  for (const ee::FunctionTensor &output : m.function.outputs)
    names.push_back(output.name);
  return names;
}

void addRun(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "run", "Run a model on arrays. Decoders take input_ids [b,s], and "
             "optionally enabled [b,s] (which rows may leave; default all) and "
             "script [b,s] (exit index, -1 by criterion, -2 full; an exit "
             "where enabled is false is an error); they give logits [b,s,v] "
             "and exit_depth [b,s]. Their attention mask may be given, but "
             "only as ones. Functions take and give the "
             "arrays that ee-run inspect lists.");
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
  command
      ->add_option("--dump", flags->dumps,
                   "NAME=FILE.npy to write a column of the rows [b,s,width]: "
                   "STAGE or STAGE.COLUMN, as it is behind the stage, or "
                   "COLUMN, behind the last stage of each row; rows that did "
                   "not get there are NaN; repeatable")
      ->allow_extra_args(false);
  command->add_option("--rtol", flags->rtol, "Relative tolerance")
      ->capture_default_str();
  command->add_option("--atol", flags->atol, "Absolute tolerance")
      ->capture_default_str();
  command->callback([flags, &exitCode] { exitCode = run(*flags); });
}

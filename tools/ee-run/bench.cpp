// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run bench`: a grid of prompt, generate, batch and threads, printed like
// llama-bench does.
#include "bench.h"

#include "commands.h"
#include "ee/file.h"
#include "roofline.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

namespace {

std::string number(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string share(const std::optional<double> &value) {
  return value ? number(*value * 100, 1) + " %" : "-";
}

/// What the code that ran was compiled for.
std::string levelOf(const ee::Artifact &artifact) {
  ee::DeviceKind device = *artifact.loadedFor();
  return ee::runsGpuCode(device) ? ee::deviceKindName(device)
                                 : artifact.code().level;
}

struct Report {
  const Model &model;
  const BenchFlags &flags;
  std::vector<BenchResult> results;
  std::map<int64_t, Roofline> rooflines;
  int64_t peak = 0;
};

void printTable(const Report &r, bool csv) {
  const ee::Manifest &m = r.model.artifact.manifest();
  // The table may name a weight several times.
  std::map<std::pair<size_t, uint64_t>, uint64_t> distinct;
  for (const ee::WeightEntry &weight : m.weights)
    distinct[{weight.file, weight.offset}] = weight.bytes;
  int64_t bytes = 0;
  for (auto &[place, size] : distinct)
    bytes += int64_t(size);
  std::vector<std::vector<std::string>> rows = {
      {"model", "MiB", "linear", "head", "level", "threads", "test", "batch",
       "arm", "t/s", "min", "max", "mean depth", "bandwidth share",
       "compute share"}};
  for (const BenchResult &b : r.results) {
    auto [low, high] = std::minmax_element(b.rates.begin(), b.rates.end());
    rows.push_back({m.model.name, number(double(bytes) / (1 << 20), 1),
                    m.linearFormat, m.headFormat, levelOf(r.model.artifact),
                    std::to_string(b.threads), b.test, std::to_string(b.batch),
                    b.arm, number(b.median(), 2), number(*low, 2),
                    number(*high, 2), number(b.meanDepth, 2),
                    share(b.bandwidthShare), share(b.computeShare)});
  }
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  for (size_t n = 0; n < rows.size(); ++n) {
    std::string line = csv ? "" : "|";
    for (size_t i = 0; i < rows[n].size(); ++i) {
      const std::string &cell = rows[n][i];
      if (csv)
        line += (i ? "," : "") + cell;
      else
        line += " " + std::string(widths[i] - cell.size(), ' ') + cell + " |";
    }
    std::printf("%s\n", line.c_str());
    if (n == 0 && !csv) {
      line = "|";
      for (size_t width : widths)
        line += " " + std::string(width - 1, '-') + ": |";
      std::printf("%s\n", line.c_str());
    }
  }
  if (csv)
    return;
  std::printf("\npeak memory %s MiB",
              number(double(r.peak) / (1 << 20), 1).c_str());
  for (const auto &[threads, roof] : r.rooflines)
    std::printf("; with %lld threads this machine reads %s GB/s and does %s "
                "GFLOP/s (f32)",
                static_cast<long long>(threads),
                number(roof.bytesPerSecond / 1e9, 1).c_str(),
                number(roof.flopsPerSecond / 1e9, 1).c_str());
  std::printf("\n");
}

void printJson(const Report &r) {
  const ee::Manifest &m = r.model.artifact.manifest();
  nlohmann::json out;
  out["model"] = m.model.name;
  out["formats"] = {{"linear", m.linearFormat}, {"head", m.headFormat}};
  out["level"] = levelOf(r.model.artifact);
  out["profile"] = r.model.artifact.profile();
  out["peak_memory"] = r.peak;
  for (const auto &[threads, roof] : r.rooflines)
    out["machine"].push_back({{"threads", threads},
                              {"read_bytes_per_second", roof.bytesPerSecond},
                              {"f32_flops_per_second", roof.flopsPerSecond}});
  out["results"] = nlohmann::json::array();
  for (const BenchResult &b : r.results) {
    nlohmann::json cell = {{"test", b.test},
                           {"arm", b.arm},
                           {"batch", b.batch},
                           {"threads", b.threads},
                           {"tokens_per_second", b.median()},
                           {"samples", b.rates},
                           {"mean_depth", b.meanDepth}};
    if (b.bandwidthShare)
      cell["bandwidth_share"] = *b.bandwidthShare;
    if (b.computeShare)
      cell["compute_share"] = *b.computeShare;
    out["results"].push_back(cell);
  }
  std::printf("%s\n", out.dump(1).c_str());
}

void checkList(const char *name, const std::vector<int64_t> &values,
               int64_t min, int64_t max) {
  for (int64_t value : values)
    if (value < min || value > max)
      throw CommandError(std::string(name) + " has " + std::to_string(value) +
                         ", accepted are " + std::to_string(min) + " to " +
                         std::to_string(max));
}

int bench(BenchFlags flags) {
  catchInterrupt();
  if (flags.threads.empty())
    flags.threads = {threadsOf(flags.model)};
  Model model(flags.model);
  needDecoder(model);
  const ee::Manifest &m = model.artifact.manifest();
  checkList("-p", flags.prompts, 0, m.model.maxPosition);
  checkList("-n", flags.generates, 0, m.model.maxPosition);
  for (int64_t generate : flags.generates)
    if (generate == 1)
      throw CommandError("-n has 1, accepted are 0 (none) and 2 and more");
  auto none = [](const std::vector<int64_t> &values) {
    return std::all_of(values.begin(), values.end(),
                       [](int64_t value) { return value == 0; });
  };
  if (none(flags.prompts) && none(flags.generates))
    throw CommandError("-p and -n are 0, so there is nothing to measure: 1 and "
                       "more are accepted for -p, 2 and more for -n");
  checkList("-b", flags.batches, 1, 4096);
  checkList("-t", flags.threads, 1, 1024);
  checkList("-r", {flags.repeats}, 1, 1000);
  Report report{model, flags, {}, {}, 0};
  auto cell = [&](int64_t threads, int64_t prompt, int64_t generate,
                  int64_t batch) {
    progress(std::to_string(threads) + " threads, batch " +
             std::to_string(batch) + ", " +
             (generate == 1 ? "prompt " + std::to_string(prompt)
                            : "generate " + std::to_string(generate)));
    for (BenchResult &result :
         benchCell(model, flags, threads, prompt, generate, batch))
      report.results.push_back(std::move(result));
  };
  for (int64_t threads : flags.threads)
    for (int64_t batch : flags.batches) {
      for (int64_t prompt : flags.prompts)
        if (prompt > 0)
          cell(threads, prompt, 1, batch);
      for (int64_t generate : flags.generates)
        if (generate > 1)
          cell(threads, 1, generate, batch);
    }
  report.peak = peakMemory(); // before the roofline takes its own buffer
  progress("measuring the machine");
  for (int64_t threads : flags.threads)
    report.rooflines.emplace(threads, measureRoofline(threads));
  progress("");
  for (BenchResult &b : report.results) {
    const Roofline &roof = report.rooflines[b.threads];
    if (b.bytesPerSecond && roof.bytesPerSecond > 0)
      b.bandwidthShare = *b.bytesPerSecond / roof.bytesPerSecond;
    if (b.flopsPerSecond && roof.flopsPerSecond > 0)
      b.computeShare = *b.flopsPerSecond / roof.flopsPerSecond;
  }
  if (flags.format == "json")
    printJson(report);
  else
    printTable(report, flags.format == "csv");
  return 0;
}

} // namespace

void addBench(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "bench", "Measure speed over a grid. The exit and the full arm run the "
               "same tokens, in turns; the median of the repeats is shown.");
  auto flags = std::make_shared<BenchFlags>();
  ModelFlags &model = flags->model;
  command->add_option("model", model.artifact, "Artifact made by ee-opt")
      ->required()
      ->type_name("DIR");
  model.addDevice(*command);
  command->add_option("--cpu-level", model.cpuLevel,
                      "Force a CPU level: x86-64-v3 or avx512");
  command
      ->add_option("-p,--n-prompt", flags->prompts, "Prompt lengths, 0 = none")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("-n,--n-gen", flags->generates,
                   "Tokens to generate, 0 = none")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-b,--batch", flags->batches, "Sequences at once")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("-t,--threads", flags->threads,
                   "Thread counts (default: as for generate)")
      ->delimiter(',');
  command->add_option("-r,--repetitions", flags->repeats, "Timed runs")
      ->capture_default_str();
  command->add_option("-o,--output", flags->format, "Format")
      ->check(CLI::IsMember({"md", "csv", "json"}))
      ->capture_default_str();
  command->add_option("--policy", model.policyFile, "policy.toml for exits");
  command
      ->add_option("--threshold", model.thresholds,
                   "EXIT=X, see generate; repeatable")
      ->allow_extra_args(false);
  command->add_flag("--force-full", model.forceFull, "Only the full arm");
  command->add_option("--chunk", model.chunk, "Prompt tokens per wave")
      ->capture_default_str();
  command->add_option("--max-rows", model.maxRows, "Tokens per wave")
      ->capture_default_str();
  command
      ->add_option("--debt-cap", model.debtCap,
                   "Tokens of a sequence that may owe KV")
      ->capture_default_str();
  command->add_option("--seed", flags->seed, "Seed of the prompts")
      ->capture_default_str();
  command->callback([flags, &exitCode] { exitCode = bench(*flags); });
}

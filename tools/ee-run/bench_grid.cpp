// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs the cells of a benchmark. A first run with the policy records a token
// trace; the timed runs of both arms replay it, the exit arm with the recorded
// exits, the full arm at full depth, so that both do the same work but for
// depth.
#include "bench.h"

#include <algorithm>
#include <random>

double BenchResult::median() const {
  std::vector<double> sorted = rates;
  std::sort(sorted.begin(), sorted.end());
  size_t n = sorted.size();
  return n == 0  ? 0
         : n % 2 ? sorted[n / 2]
                 : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

namespace {

struct Trace {
  std::vector<int32_t> ids, exits;
};

struct Timing {
  double elapsed = 0;
  int64_t depthSum = 0, tokens = 0;
  double bytes = 0, flops = 0;
};

class Runner {
public:
  Runner(const Model &model, const BenchFlags &flags, int64_t threads,
         int64_t prompt, int64_t generate, int64_t batch)
      : manifest(model.artifact.manifest()), generate(generate) {
    ee::SessionOptions options =
        model.session(flags.model, prompt + generate - 1, batch);
    options.threads = threads;
    options.maxSequences = batch;
    options.maxRows = std::max(options.maxRows, batch);
    session = need(ee::Session::create(model.artifact, options));
    std::mt19937_64 random(flags.seed);
    prompts.resize(size_t(batch));
    for (auto &ids : prompts)
      for (int64_t i = 0; i < prompt; ++i)
        ids.push_back(int32_t(random() % uint64_t(manifest.model.vocab)));
  }

  /// Records the traces of the policy, or of full depth.
  std::vector<Trace> record() {
    std::vector<Trace> none(prompts.size());
    std::vector<Trace> traces;
    run(none, false, &traces);
    return traces;
  }

  Timing run(const std::vector<Trace> &traces, bool full,
             std::vector<Trace> *recorded = nullptr) {
    std::vector<ee::Ticket> tickets;
    for (size_t i = 0; i < prompts.size(); ++i) {
      ee::Request request;
      request.prompt = prompts[i];
      request.maxNewTokens = generate;
      request.forced = traces[i].ids;
      request.script =
          full ? std::vector<int32_t>(size_t(generate), -2) : traces[i].exits;
      tickets.push_back(need(session->submit(std::move(request))));
    }
    ee::SessionCounters before = session->counters();
    double start = seconds();
    while (need(session->step()))
      if (interrupted())
        throw CommandError("interrupted");
    Timing timing;
    timing.elapsed = seconds() - start;
    const ee::SessionCounters &after = session->counters();
    for (size_t i = 0; i < after.stages.size(); ++i) {
      const auto &cost = manifest.stages[i].cost;
      if (!cost)
        continue;
      const ee::StageCounters &a = after.stages[i], &b = before.stages[i];
      timing.bytes +=
          double(a.launches - b.launches) * double(cost->weightBytes);
      timing.flops += double(a.rows + a.catchUpRows - b.rows - b.catchUpRows) *
                      double(cost->flopsPerRow);
    }
    for (ee::Ticket ticket : tickets) {
      const ee::RequestStatus &status = *session->poll(ticket);
      timing.tokens += int64_t(status.ids.size());
      for (int32_t depth : status.exitDepth)
        timing.depthSum += depth;
      if (recorded) {
        Trace trace{status.ids, {}};
        for (int32_t exit : status.exitIndex)
          trace.exits.push_back(exit < 0 ? int32_t(EE_SCRIPT_FULL) : exit);
        recorded->push_back(std::move(trace));
      }
      session->forget(ticket);
    }
    return timing;
  }

private:
  const ee::Manifest &manifest;
  int64_t generate;
  std::unique_ptr<ee::Session> session;
  std::vector<std::vector<int32_t>> prompts;
};

} // namespace

std::vector<BenchResult> benchCell(const Model &model, const BenchFlags &flags,
                                   int64_t threads, int64_t prompt,
                                   int64_t generate, int64_t batch) {
  const ee::Manifest &m = model.artifact.manifest();
  Runner runner(model, flags, threads, prompt, generate, batch);
  bool isPrompt = generate == 1;
  std::vector<Trace> traces = runner.record(); // warms up as well
  std::vector<BenchResult> results;
  // Prompts run at full depth, so they have one arm.
  bool exits = !m.exits.empty() && !isPrompt && !model.policy.record.force_full;
  for (const char *arm : {"full", "exit"}) {
    if (arm[0] == 'e' && !exits)
      continue;
    BenchResult result;
    result.test = isPrompt ? "pp" + std::to_string(prompt)
                           : "tg" + std::to_string(generate);
    result.arm = arm;
    result.batch = batch;
    result.threads = threads;
    results.push_back(result);
  }
  bool costs = std::any_of(m.stages.begin(), m.stages.end(),
                           [](const ee::StageEntry &s) { return s.cost; });
  std::vector<std::vector<Timing>> timings(results.size());
  for (int64_t repeat = 0; repeat < flags.repeats; ++repeat)
    for (size_t i = 0; i < results.size(); ++i) {
      Timing t = runner.run(traces, results[i].arm == "full");
      int64_t tokens = isPrompt ? prompt * batch : t.tokens;
      results[i].rates.push_back(double(tokens) / t.elapsed);
      results[i].meanDepth = double(t.depthSum) / double(t.tokens);
      timings[i].push_back(t);
    }
  for (size_t i = 0; i < results.size() && costs; ++i) {
    std::sort(
        timings[i].begin(), timings[i].end(),
        [](const Timing &a, const Timing &b) { return a.elapsed < b.elapsed; });
    const Timing &middle = timings[i][timings[i].size() / 2];
    results[i].bytesPerSecond = middle.bytes / middle.elapsed;
    results[i].flopsPerSecond = middle.flops / middle.elapsed;
  }
  return results;
}

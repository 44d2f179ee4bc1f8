// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The grid of `ee-run bench` and its results.
#ifndef EE_RUN_BENCH_H
#define EE_RUN_BENCH_H

#include "common.h"

#include <optional>
#include <string>
#include <vector>

struct BenchFlags {
  ModelFlags model;
  std::vector<int64_t> prompts{512}, generates{128}, batches{1}, threads;
  int64_t repeats = 5;
  uint64_t seed = 1;
  std::string format = "md";
};

/// One cell: a test at one batch width and thread count, by one arm.
struct BenchResult {
  std::string test; ///< pp512, tg128
  std::string arm;  ///< full or exit
  int64_t batch = 1, threads = 1;
  std::vector<double> rates; ///< tokens per second, by repeat
  double meanDepth = 0;
  /// Bytes of weights read and operations per second of the median run; where
  /// the artifact states costs.
  std::optional<double> bytesPerSecond, flopsPerSecond;
  std::optional<double> bandwidthShare, computeShare;

  double median() const;
};

/// Runs the test with both arms, alternating. Both replay one token trace.
std::vector<BenchResult> benchCell(const Model &model, const BenchFlags &flags,
                                   int64_t threads, int64_t prompt,
                                   int64_t generate, int64_t batch);

#endif // EE_RUN_BENCH_H

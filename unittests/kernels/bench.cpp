// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Speed of kernels, not a test, one thread, 10th percentile of times. Linear
// layers read their weights from memory: GB/s of packed weights and GFLOP/s.
// Then attention of 512 rows of one sequence and of the last one alone, and a
// draw from 49152 logits.
//   kernels_bench [--level=v3|avx512] [--format=NAME] [--rows=M] [NxK ...]

#include "Harness.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace kernels_test;

namespace {

double seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// 10th percentile of the times of `body`, run for 0.4 s.
double timed(llvm::function_ref<void(size_t)> body) {
  std::vector<double> times;
  double until = seconds() + 0.4;
  for (size_t i = 0; seconds() < until || times.size() < 5; ++i) {
    double t = seconds();
    body(i);
    times.push_back(seconds() - t);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 10];
}

void benchAttend(Level level) {
  Case c(level, "%q: tensor<?x576xf32>, %kv: !adaptive.kv<3 x 64>",
         "%y = adaptive.attend %q, %kv heads 9 scale 1.25e-01 : "
         "tensor<?x576xf32>, !adaptive.kv<3 x 64>");
  constexpr int64_t pageBytes = 2 * 2 * 3 * 64 * 64 * 4;
  Bytes pages(8 * pageBytes);
  std::fill_n(pages.floats(), pages.size() / 4, 0.01f);
  const int32_t table[] = {3, 1, 4, 0, 5, 2, 7, 6};
  const ee_kv_level levels[] = {{nullptr, nullptr, 0},
                                {pages.data(), table, 8}};
  for (int64_t rows : {1, 512}) {
    c.rows(rows);
    c.args.kv = levels;
    for (int64_t row = 0; row < rows; ++row) {
      std::fill_n(c.input(0, row), 576, 0.1f);
      c.position[size_t(c.slot(row))] = int32_t(rows == 1 ? 511 : row);
    }
    double flops = 4.0 * 576 * (rows == 1 ? 512.0 : 512.0 * 513 / 2);
    double t = timed([&](size_t) { c.run(); });
    std::printf("%-11s attend %3ld rows of 512 positions: %8.1f us %5.0f GF\n",
                levelName(level).str().c_str(), long(rows), t * 1e6,
                flops / t * 1e-9);
  }
}

void benchSample(Level level) {
  Case c(level, "%z: tensor<?x49152xf32>",
         "%t = adaptive.sample %z : tensor<?x49152xf32> -> tensor<?xi32>");
  c.rows(1);
  auto z = randomFloats(49152, 3, 2);
  std::memcpy(c.input(0, 0), z.data(), z.size() * 4);
  for (ee_sampler sampler :
       {ee_sampler{0, 1, 0, 0, 1}, ee_sampler{1, 1, 0, 0, 1},
        ee_sampler{1, 0.9f, 0.05f, 40, 1}}) {
    c.args.samplers = &sampler;
    double t = timed([&](size_t) { c.run(); });
    std::printf("%-11s sample temperature %g top_p %g top_k %d: %.1f us\n",
                levelName(level).str().c_str(), double(sampler.temperature),
                double(sampler.top_p), sampler.top_k, t * 1e6);
  }
}

void bench(Level level, Format format, int64_t n, int64_t k,
           const std::vector<int64_t> &rows) {
  auto dims = [](int64_t a, int64_t b) {
    return "tensor<" + std::to_string(a) + "x" + std::to_string(b) + "xf32>";
  };
  auto width = [](int64_t a) {
    return "tensor<?x" + std::to_string(a) + "xf32>";
  };
  Options options;
  options.format = format;
  double start = seconds();
  Case c(level, "%x: " + width(k) + ", %w: " + dims(n, k),
         "%y = adaptive.linear %x weights(%w) : " + width(k) + ", (" +
             dims(n, k) + ") -> (" + width(n) + ")",
         options);
  double compile = seconds() - start;
  // Enough copies that none is still in a cache when it is used again.
  int64_t bytes = c.packing(1).bytes(),
          copies = std::max<int64_t>(1, (160 << 20) / bytes);
  std::vector<Bytes> weights;
  c.setWeight(1, randomFloats(size_t(n * k), 1));
  for (int64_t i = 0; i < copies; ++i) {
    weights.emplace_back(size_t(bytes));
    std::memcpy(weights.back().data(), c.packedWeight(1), size_t(bytes));
  }
  std::printf("%-11s %-4s %6ldx%-5ld compile %4.0f ms |",
              levelName(level).str().c_str(), formatName(format).str().c_str(),
              long(n), long(k), compile * 1e3);
  for (int64_t m : rows) {
    c.rows(m);
    auto x = randomFloats(size_t(m * k), 2);
    for (int64_t row = 0; row < m; ++row)
      std::memcpy(c.input(0, row), &x[size_t(row * k)], size_t(k) * 4);
    double t = timed([&](size_t i) {
      c.shareWeight(1, weights[i % weights.size()].data());
      c.run();
    });
    if (m <= 4)
      std::printf(" M=%ld %5.1f GB/s", long(m), double(bytes) / t * 1e-9);
    else
      std::printf(" M=%ld %5.0f GF", long(m),
                  2.0 * double(m * n * k) / t * 1e-9);
    std::fflush(stdout);
  }
  std::printf("\n");
}

} // namespace

int main(int argc, char **argv) {
  std::vector<Level> levels = levelsHere();
  std::vector<Format> formats = {Format::F32, Format::BF16, Format::Q8,
                                 Format::Q4};
  std::vector<int64_t> rows = {1, 2, 4, 6, 8, 16, 32, 512};
  std::vector<std::pair<long, long>> shapes;
  for (int i = 1; i < argc; ++i) {
    long n, k;
    if (!std::strncmp(argv[i], "--level=", 8))
      levels = {std::strcmp(argv[i] + 8, "v3") ? Level::AVX512 : Level::V3};
    else if (!std::strncmp(argv[i], "--format=", 9) &&
             adaptive::kernels::parseFormat(argv[i] + 9))
      formats = {*adaptive::kernels::parseFormat(argv[i] + 9)};
    else if (!std::strncmp(argv[i], "--rows=", 7))
      rows = {std::atol(argv[i] + 7)};
    else if (std::sscanf(argv[i], "%ldx%ld", &n, &k) == 2)
      shapes.push_back({n, k});
    else
      return std::fprintf(stderr, "kernels_bench: unknown argument %s\n",
                          argv[i]),
             1;
  }
  if (shapes.empty())
    shapes = {{576, 576}, {1536, 576}, {49152, 576}};
  for (Level level : levels) {
    benchAttend(level);
    benchSample(level);
    for (Format format : formats)
      for (auto [n, k] : shapes)
        bench(level, format, n, k,
              n > 10000 ? std::vector<int64_t>{rows.front()} : rows);
  }
}

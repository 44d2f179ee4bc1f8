// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Measures read bandwidth and FMA rate with the same thread team that serves
// models.
#include "roofline.h"

#include "backends/cpu/team.h"
#include "common.h"
#include "ee/cpu_features.h"

#include <algorithm>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Work {
  const uint64_t *data;
  int64_t words;
  int64_t steps;
  bool wide;
  std::atomic<uint64_t> sink;
};

#if defined(__x86_64__)
__attribute__((target("avx2"))) uint64_t sumAvx2(const uint64_t *p,
                                                 int64_t words) {
  __m256i sums[4] = {};
  for (int64_t i = 0; i + 16 <= words; i += 16)
    for (int j = 0; j < 4; ++j)
      sums[j] = _mm256_xor_si256(
          sums[j],
          _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + i + 4 * j)));
  __m256i all = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]),
                                 _mm256_xor_si256(sums[2], sums[3]));
  return uint64_t(_mm256_extract_epi64(all, 0)) ^
         uint64_t(_mm256_extract_epi64(all, 1)) ^
         uint64_t(_mm256_extract_epi64(all, 2)) ^
         uint64_t(_mm256_extract_epi64(all, 3));
}

// Twelve chains cover the latency of an FMA on two ports.
__attribute__((target("avx2,fma"))) float fmaAvx2(int64_t steps) {
  __m256 chains[12];
  for (int j = 0; j < 12; ++j)
    chains[j] = _mm256_set1_ps(float(j));
  __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < steps; ++i)
#pragma clang loop unroll(full)
    for (int j = 0; j < 12; ++j)
      chains[j] = _mm256_fmadd_ps(chains[j], a, b);
  float out = 0;
  for (int j = 0; j < 12; ++j)
    out += _mm256_cvtss_f32(chains[j]);
  return out;
}

__attribute__((target("avx512f"))) float fmaAvx512(int64_t steps) {
  __m512 chains[12];
  for (int j = 0; j < 12; ++j)
    chains[j] = _mm512_set1_ps(float(j));
  __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (int64_t i = 0; i < steps; ++i)
#pragma clang loop unroll(full)
    for (int j = 0; j < 12; ++j)
      chains[j] = _mm512_fmadd_ps(chains[j], a, b);
  float out = 0;
  for (int j = 0; j < 12; ++j)
    out += _mm512_cvtss_f32(chains[j]);
  return out;
}
#else
uint64_t sumAvx2(const uint64_t *, int64_t) { return 0; }
float fmaAvx2(int64_t) { return 0; }
float fmaAvx512(int64_t) { return 0; }
#endif

void readKernel(const ee_stage_args *, const void *context, int64_t begin,
                int64_t end, int64_t) {
  auto *work = static_cast<Work *>(const_cast<void *>(context));
  constexpr int64_t block = 1 << 15;
  for (int64_t i = begin; i < end; ++i)
    work->sink ^= sumAvx2(work->data + i * block,
                          std::min(block, work->words - i * block));
}

void fmaKernel(const ee_stage_args *, const void *context, int64_t begin,
               int64_t end, int64_t) {
  auto *work = static_cast<Work *>(const_cast<void *>(context));
  for (int64_t i = begin; i < end; ++i)
    work->sink ^=
        uint64_t(work->wide ? fmaAvx512(work->steps) : fmaAvx2(work->steps));
}

} // namespace

Roofline measureRoofline(int64_t threads) {
  Roofline result;
  ee::CpuFeatures here = ee::CpuFeatures::detect();
  if (!here.v3)
    return result;
  ee::Team team(threads);
  std::vector<uint64_t> data(size_t(32) << 20, 1); // 256 MiB
  Work work{data.data(), int64_t(data.size()), 200000, here.avx512, {}};
  for (int pass = 0; pass < 6; ++pass) {
    double start = seconds();
    team.handle()->run(team.handle(), readKernel, nullptr, &work,
                       work.words >> 15, 8);
    double rate = double(work.words) * 8 / (seconds() - start);
    result.bytesPerSecond = std::max(result.bytesPerSecond, rate);
  }
  int64_t items = threads * 8;
  double perStep = 12.0 * (here.avx512 ? 16 : 8) * 2;
  for (int pass = 0; pass < 4; ++pass) {
    double start = seconds();
    team.handle()->run(team.handle(), fmaKernel, nullptr, &work, items, 1);
    double rate =
        perStep * double(work.steps) * double(items) / (seconds() - start);
    result.flopsPerSecond = std::max(result.flopsPerSecond, rate);
  }
  return result;
}

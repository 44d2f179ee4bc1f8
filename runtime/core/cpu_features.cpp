// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPU level detection. A CPU that has a feature is not enough: the operating
// system must save the wide registers (XCR0).
#include "ee/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdint>

namespace ee {

#if defined(__x86_64__)
namespace {
struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  Leaf(uint32_t leaf, uint32_t sub) {
    if (!__get_cpuid_count(leaf, sub, &a, &b, &c, &d))
      a = b = c = d = 0;
  }
};

uint64_t readXcr0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool all(uint32_t value, uint32_t mask) { return (value & mask) == mask; }
} // namespace

CpuFeatures CpuFeatures::detect() {
  CpuFeatures result;
  Leaf one(1, 0), seven(7, 0), sevenOne(7, 1), extended(0x80000001u, 0);
  if (!all(one.c, bit_OSXSAVE))
    return result;
  uint64_t xcr0 = readXcr0();
  bool ymm = (xcr0 & 0x6) == 0x6;   // SSE and AVX state
  bool zmm = (xcr0 & 0xe6) == 0xe6; // and opmask, ZMM_Hi256, Hi16_ZMM
  result.v3 = ymm && all(one.c, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE) &&
              all(seven.b, bit_AVX2 | bit_BMI | bit_BMI2) &&
              all(extended.c, bit_LZCNT);
  result.avx512 =
      result.v3 && zmm &&
      all(seven.b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) &&
      all(seven.c, bit_AVX512VNNI) && all(sevenOne.a, bit_AVX512BF16);
  return result;
}
#else
CpuFeatures CpuFeatures::detect() { return {}; }
#endif

bool CpuFeatures::supports(std::string_view name) const {
  if (name == "x86-64-v3")
    return v3;
  return name == "avx512" && avx512;
}

} // namespace ee

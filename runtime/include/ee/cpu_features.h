// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which CPU levels of an artifact this machine can run.
#ifndef EE_CPU_FEATURES_H
#define EE_CPU_FEATURES_H

#include <string>
#include <string_view>

namespace ee {

/// What the CPU and the operating system offer, as far as levels ask for it.
struct CpuFeatures {
  bool v3 = false;     ///< x86-64-v3: AVX2, BMI, F16C, FMA, LZCNT, MOVBE
  bool avx512 = false; ///< v3 and AVX-512 F, BW, DQ, VL, VNNI, BF16

  /// Asks this machine (cpuid and xgetbv).
  static CpuFeatures detect();

  /// Whether code of the level `name` of the artifact format runs here.
  bool supports(std::string_view name) const;
};

} // namespace ee

#endif // EE_CPU_FEATURES_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What this machine can do at most, measured now: the denominators of roofline
// shares.
#ifndef EE_RUN_ROOFLINE_H
#define EE_RUN_ROOFLINE_H

#include <cstdint>

struct Roofline {
  double bytesPerSecond = 0; ///< reading memory that is in no cache
  double flopsPerSecond = 0; ///< f32 multiply-adds, each counted as two
};

/// Takes about half a second and 256 MiB.
Roofline measureRoofline(int64_t threads);

#endif // EE_RUN_ROOFLINE_H

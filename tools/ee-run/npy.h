// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads and writes NumPy's .npy files (versions 1 to 3, C order, little
// endian), within bounds.
#ifndef EE_RUN_NPY_H
#define EE_RUN_NPY_H

#include "ee/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct NpyArray {
  /// NumPy's name without byte order: f4, f8, f2, i8, i4, i2, i1, u1, b1, ...
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;

  int64_t elements() const;
  int64_t itemBytes() const { return dtype[1] - '0'; }
};

/// `what` names the file in errors.
ee::Expected<NpyArray> parseNpy(std::string_view bytes, std::string_view what);
/// The bytes of a .npy file.
std::string formatNpy(const NpyArray &array);

/// Element `i` as a double.
double npyNumber(const NpyArray &array, int64_t i);

#endif // EE_RUN_NPY_H

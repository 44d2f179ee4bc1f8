// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run --dump`: columns of the row store behind a stage, as arrays.
#ifndef EE_RUN_DUMP_H
#define EE_RUN_DUMP_H

#include "npy.h"

#include "ee/manifest.h"
#include "ee/session.h"

#include <string>
#include <utility>
#include <vector>

/// Names that --dump accepts: STAGE.COLUMN, what the column holds behind the
/// stage; COLUMN, behind the last stage that the row went through; and STAGE
/// alone where the rows have one column.
std::vector<std::string> dumpNames(const ee::Manifest &manifest);

/// Arrays [batch, sequence, width]. Rows that did not go through the stage are
/// NaN (f32) or -1 (i32).
class Dumps {
public:
  /// `wishes`: pairs of a name and a file. Throws on a name that means nothing.
  Dumps(const ee::Manifest &manifest,
        const std::vector<std::pair<std::string, std::string>> &wishes);
  /// Throws where the arrays would be too large.
  void start(int64_t batch, int64_t sequence);
  bool wants(int32_t stage) const;
  /// Of sequences whose tickets count from 1.
  void take(int32_t stage, std::span<const ee::LaunchRow> rows,
            std::span<const uint8_t> columns);
  void write() const;

private:
  struct Wish {
    int32_t stage = -1; ///< -1: any
    size_t column = 0;
    std::string file;
    NpyArray array;
  };

  const ee::Manifest &manifest;
  std::vector<Wish> list;
  int64_t sequence = 0;
};

#endif // EE_RUN_DUMP_H

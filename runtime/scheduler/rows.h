// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The row store: slots, columns, and the host's record of each row.
#ifndef EE_SCHEDULER_ROWS_H
#define EE_SCHEDULER_ROWS_H

#include "ee/abi.h"
#include "ee/device.h"
#include "ee/manifest.h"

#include <cstdint>
#include <vector>

namespace ee {

/// What the host knows of the row in a slot. A row has up to two lives: its
/// way to its token, and, where it left early, a debt of KV.
struct Row {
  int32_t sequence = 0;
  int32_t position = 0;
  int32_t token = 0;     ///< as embedded; sampling overwrites the column
  int32_t exit = -1;     ///< where it left
  int32_t debtNode = -1; ///< node where its debt waits, -1 = owes nothing
  bool walking = false;  ///< still on its way to its token
  bool fill = false;     ///< the debt is a propagation, due at once
  bool emits = false;
  int64_t visits = 0; ///< launches in this wave
  uint64_t logitHash = 0;
};

class RowTable {
public:
  static Expected<RowTable> create(Device &device, int64_t rowBytes,
                                   int64_t slots);

  /// A free slot with cleared record and columns; there always is one as long
  /// as the scheduler keeps to its debt cap.
  int32_t take();
  void give(int32_t slot) { free.push_back(slot); }

  Row &operator[](int32_t slot) { return rows[size_t(slot)]; }
  const Row &operator[](int32_t slot) const { return rows[size_t(slot)]; }
  ee_rows &columns() { return arrays; }
  const ee_rows &columns() const { return arrays; }
  uint8_t *store() const { return storage.data(); }
  int64_t slots() const { return int64_t(rows.size()); }
  int64_t freeSlots() const { return int64_t(free.size()); }
  uint64_t bytes() const { return storage.bytes() + columnStorage.bytes(); }

private:
  RowTable() = default;

  Buffer storage;
  Buffer columnStorage;
  ee_rows arrays = {};
  std::vector<Row> rows;
  std::vector<int32_t> free;
};

} // namespace ee

#endif // EE_SCHEDULER_ROWS_H

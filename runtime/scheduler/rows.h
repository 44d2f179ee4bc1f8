// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The row store: slots, columns, and the host's record of each row.
#ifndef EE_SCHEDULER_ROWS_H
#define EE_SCHEDULER_ROWS_H

#include "core/device_queue.h"
#include "ee/abi.h"

#include <cstdint>
#include <span>
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

/// What the host puts into the columns of a row that sets out.
struct RowStart {
  int32_t token = 0, sequence = 0, position = 0, policy = 0;
  int32_t script = EE_SCRIPT_NONE;
  uint32_t flags = 0;
};

class RowTable {
public:
  /// Bytes that `create` takes of the queue's mirrors.
  static uint64_t mirrorBytes(int64_t slots);
  /// `queue` outlives the table.
  static Expected<RowTable> create(DeviceQueue &queue, int64_t rowBytes,
                                   int64_t slots);

  /// A free slot with a cleared record; there always is one as long as the
  /// scheduler keeps to its debt cap.
  int32_t take();
  void give(int32_t slot) { free.push_back(slot); }

  Row &operator[](int32_t slot) { return rows[size_t(slot)]; }
  const Row &operator[](int32_t slot) const { return rows[size_t(slot)]; }

  /// Host to device; not between a launch and the sync behind it.
  void start(int32_t slot, const RowStart &start);
  /// The row has its token; what it owes sets out with the one it embedded.
  void startDebt(int32_t slot, int32_t token);

  /// Device to host: as of the last sync, for rows that were launched.
  void launched(int32_t slot) {
    lowest = lowest < slot ? lowest : slot;
    highest = highest > slot ? highest : slot;
  }
  /// Records the download of the rows launched since the last call.
  void download();
  int32_t token(int32_t slot) const { return tokens[slot]; }
  int32_t depth(int32_t slot) const { return depths[slot]; }
  bool leaves(int32_t slot) const { return decisions[slot] != 0; }
  std::span<const float> criteria(int32_t slot) const {
    return scores.all().subspan(size_t(slot) * EE_MAX_EXITS, EE_MAX_EXITS);
  }

  /// Where the columns lie on the device.
  ee_rows columns() const;
  DeviceAddress store() const { return storage.address(); }
  int64_t slots() const { return int64_t(rows.size()); }
  int64_t freeSlots() const { return int64_t(free.size()); }
  /// Of the row store; columns are mirrors.
  uint64_t bytes() const { return storage.bytes(); }

private:
  RowTable() = default;

  DeviceQueue *queue = nullptr;
  Buffer storage;
  // What only the host writes, and what the device writes, in one piece.
  Mirrored<int32_t> sequences, positions, policies, scripts;
  Mirrored<uint32_t> flags;
  Mirrored<int32_t> tokens, depths, decisions;
  Mirrored<float> scores; // [slot][EE_MAX_EXITS]
  int32_t lowest = INT32_MAX, highest = -1;
  std::vector<Row> rows;
  std::vector<int32_t> free;
};

} // namespace ee

#endif // EE_SCHEDULER_ROWS_H

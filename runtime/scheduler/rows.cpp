// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Row slots and columns; see rows.h.
#include "rows.h"

#include "ee/checked.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace ee {

uint64_t RowTable::mirrorBytes(int64_t slots) {
  return 8 * MirrorBlock::bytesOf<int32_t>(slots) +
         MirrorBlock::bytesOf<float>(slots * EE_MAX_EXITS);
}

Expected<RowTable> RowTable::create(DeviceQueue &queue, int64_t rowBytes,
                                    int64_t slots) {
  RowTable table;
  table.queue = &queue;
  auto bytes = checkedMul(rowBytes, slots);
  if (!bytes)
    return Failure{"the row store would be too large: fewer rows or sequences "
                   "would be accepted"};
  auto storage = queue.device().allocate(uint64_t(*bytes));
  if (!storage)
    return Failure{"row store: " + storage.error()};
  table.storage = std::move(*storage);
  MirrorBlock &mirrors = queue.mirrors();
  for (Mirrored<int32_t> *column :
       {&table.sequences, &table.positions, &table.policies, &table.scripts})
    *column = mirrors.take<int32_t>(slots);
  table.flags = mirrors.take<uint32_t>(slots);
  for (Mirrored<int32_t> *column :
       {&table.tokens, &table.depths, &table.decisions})
    *column = mirrors.take<int32_t>(slots);
  table.scores = mirrors.take<float>(slots * EE_MAX_EXITS);
  table.rows.resize(size_t(slots));
  table.free.reserve(size_t(slots));
  for (int64_t i = slots; i-- > 0;)
    table.free.push_back(int32_t(i));
  return table;
}

int32_t RowTable::take() {
  assert(!free.empty() && "debts beyond the cap");
  int32_t slot = free.back();
  free.pop_back();
  rows[size_t(slot)] = Row();
  return slot;
}

void RowTable::start(int32_t slot, const RowStart &start) {
  assert(!queue->launched() && "a launch under way reads these columns");
  tokens.set(slot, start.token);
  sequences.set(slot, start.sequence);
  positions.set(slot, start.position);
  policies.set(slot, start.policy);
  scripts.set(slot, start.script);
  flags.set(slot, start.flags);
  depths.set(slot, 0);
  decisions.set(slot, 0);
  std::fill_n(scores.write(int64_t(slot) * EE_MAX_EXITS, EE_MAX_EXITS),
              EE_MAX_EXITS, std::numeric_limits<float>::quiet_NaN());
}

void RowTable::startDebt(int32_t slot, int32_t token) {
  assert(!queue->launched() && "a launch under way reads these columns");
  flags.set(slot, EE_ROW_CATCH_UP);
  scripts.set(slot, EE_SCRIPT_FULL);
  tokens.set(slot, token);
}

void RowTable::download() {
  if (highest < 0)
    return;
  uint64_t begin = tokens.place(lowest);
  uint64_t end = scores.place(int64_t(highest + 1) * EE_MAX_EXITS);
  queue->downloadMirror(begin, end - begin);
  lowest = INT32_MAX;
  highest = -1;
}

ee_rows RowTable::columns() const {
  ee_rows c = {};
  c.token = deviceField<int32_t>(tokens.address());
  c.sequence = deviceField<int32_t>(sequences.address());
  c.position = deviceField<int32_t>(positions.address());
  c.depth = deviceField<int32_t>(depths.address());
  c.policy = deviceField<int32_t>(policies.address());
  c.script = deviceField<int32_t>(scripts.address());
  c.flags = deviceField<uint32_t>(flags.address());
  c.decision = deviceField<int32_t>(decisions.address());
  c.criteria = deviceField<float>(scores.address());
  return c;
}

} // namespace ee

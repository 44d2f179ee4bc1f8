// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Row slots and columns; see rows.h.
#include "rows.h"

#include "ee/checked.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace ee {

Expected<RowTable> RowTable::create(Device &device, int64_t rowBytes,
                                    int64_t slots) {
  RowTable table;
  auto bytes = checkedMul(rowBytes, slots);
  if (!bytes)
    return Failure{"the row store would be too large: fewer rows or sequences "
                   "would be accepted"};
  auto storage = device.allocate(uint64_t(*bytes));
  if (!storage)
    return Failure{"row store: " + storage.error()};
  table.storage = std::move(*storage);
  // Eight arrays of 32-bit values and the criteria, each on its own line.
  int64_t array = (slots * 4 + 63) / 64 * 64;
  auto columns =
      device.allocate(uint64_t(array * 8 + slots * EE_MAX_EXITS * 4));
  if (!columns)
    return Failure{"row columns: " + columns.error()};
  table.columnStorage = std::move(*columns);
  uint8_t *base = table.columnStorage.data();
  auto next = [&] {
    return reinterpret_cast<int32_t *>((base += array) - array);
  };
  ee_rows &c = table.arrays;
  c.token = next();
  c.sequence = next();
  c.position = next();
  c.depth = next();
  c.policy = next();
  c.script = next();
  c.flags = reinterpret_cast<uint32_t *>(next());
  c.decision = next();
  c.criteria = reinterpret_cast<float *>(base);
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
  arrays.depth[slot] = 0;
  arrays.decision[slot] = 0;
  std::fill_n(arrays.criteria + int64_t(slot) * EE_MAX_EXITS, EE_MAX_EXITS,
              std::numeric_limits<float>::quiet_NaN());
  return slot;
}

} // namespace ee

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The memory that a compiled function works in: sizes checked, a limit on the
// total, and nothing left when a call ends early.
#ifndef EE_FUNCTION_MEMORY_H
#define EE_FUNCTION_MEMORY_H

#include "ee/function_abi.h"

#include <cstdint>
#include <string>
#include <unordered_map>

namespace ee {

class FunctionMemory {
public:
  explicit FunctionMemory(uint64_t limit);
  FunctionMemory(const FunctionMemory &) = delete;
  ~FunctionMemory();

  ee_memory *handle() { return &table.calls; }
  /// Takes a block out, so that it outlives the call; false where `data` is
  /// none of the blocks.
  bool take(void *data);
  /// Bytes of a block, 0 where it is none.
  uint64_t sizeOf(void *data) const;
  /// Why the last allocation failed, or empty.
  const std::string &error() const { return reason; }
  uint64_t peak() const { return most; }

private:
  // The callbacks get `calls` back and find the object behind it.
  struct Table {
    ee_memory calls;
    FunctionMemory *self;
  };
  void *allocate(const int64_t *dims, int64_t rank, int64_t elementBytes);
  void release(void *data);

  Table table;
  uint64_t limit, used = 0, most = 0;
  std::unordered_map<void *, uint64_t> blocks;
  std::string reason;
};

} // namespace ee

#endif // EE_FUNCTION_MEMORY_H

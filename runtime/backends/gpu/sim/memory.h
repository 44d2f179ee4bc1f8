// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Device memory of the simulator: each allocation lies alone between guard
// pages, and every access is looked up in the table of allocations. A device
// pointer is the host pointer, so that host functions can stand for kernels.
#ifndef EE_GPU_SIM_MEMORY_H
#define EE_GPU_SIM_MEMORY_H

#include "ee/result.h"
#include "shadow.h"

#include <map>
#include <memory>
#include <string>

namespace ee::gpu {

struct Region {
  uint64_t begin = 0, bytes = 0;
  std::string name;
  bool freed = false;
  bool constant = false;          // kernels may not write it
  std::unique_ptr<Shadow> shadow; // with checks only

  bool contains(uint64_t address, uint64_t length) const {
    uint64_t offset = address - begin;
    return offset < bytes && length <= bytes - offset;
  }
};

class Memory {
public:
  /// What new memory is filled with when `check` is on: as floats NaN, as an
  /// index -1.
  static constexpr uint8_t poison = 0xff;

  explicit Memory(bool check) : check(check) {}
  Memory(const Memory &) = delete;
  ~Memory();

  /// `bytes` bytes aligned to a page; poisoned with `check`, else zero.
  Expected<uint64_t> allocate(uint64_t bytes, std::string name);
  /// Ends an allocation. With `check` its addresses are not used again.
  Expected<void> release(uint64_t address);

  /// The allocation in which `length` bytes at `address` lie, or null.
  Region *find(uint64_t address, uint64_t length);
  /// Why `find` gave null: names the nearest allocation.
  std::string explain(uint64_t address, uint64_t length) const;

  /// Says that the host has written the bytes.
  void written(uint64_t address, uint64_t length);

  uint64_t used() const { return total; }
  bool checks() const { return check; }

private:
  bool check;
  uint64_t total = 0;
  std::map<uint64_t, Region> regions;
  Region *last = nullptr;
};

} // namespace ee::gpu

#endif // EE_GPU_SIM_MEMORY_H

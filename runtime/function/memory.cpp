// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Allocation for compiled functions; see memory.h.
#include "memory.h"

#include "ee/checked.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace ee {

FunctionMemory::FunctionMemory(uint64_t limit) : limit(limit) {
  table.self = this;
  table.calls.allocate = [](ee_memory *calls, const int64_t *dims, int64_t rank,
                            int64_t elementBytes) {
    return reinterpret_cast<Table *>(calls)->self->allocate(dims, rank,
                                                            elementBytes);
  };
  table.calls.release = [](ee_memory *calls, void *data) {
    reinterpret_cast<Table *>(calls)->self->release(data);
  };
}

FunctionMemory::~FunctionMemory() {
  for (auto &[data, bytes] : blocks)
    std::free(data);
}

void *FunctionMemory::allocate(const int64_t *dims, int64_t rank,
                               int64_t elementBytes) {
  auto refuse = [&](std::string text) -> void * {
    reason = std::move(text);
    return nullptr;
  };
  std::string shape;
  for (int64_t i = 0; i < rank; ++i)
    shape += (i ? " x " : "") + std::to_string(dims[i]);
  std::optional<uint64_t> bytes = uint64_t(elementBytes);
  for (int64_t i = 0; i < rank && bytes; ++i) {
    if (dims[i] < 0)
      return refuse("a value of the model would have the dimensions " + shape);
    bytes = checkedMul(*bytes, uint64_t(dims[i]));
  }
  // Some room to round up without another check.
  if (!bytes || *bytes > UINT64_MAX / 4)
    return refuse("a value of the model would have the dimensions " + shape +
                  ", which is too large");
  uint64_t size = (std::max<uint64_t>(*bytes, 1) + 63) / 64 * 64;
  if (size > limit || used > limit - size)
    return refuse("the model needs more than " + std::to_string(limit) +
                  " bytes of memory");
  void *data = std::aligned_alloc(64, size);
  if (!data)
    return refuse("there are no " + std::to_string(size) +
                  " bytes of memory left for a value of the model");
  try {
    blocks.emplace(data, size);
  } catch (const std::bad_alloc &) {
    std::free(data);
    return refuse("out of memory");
  }
  used += size;
  most = std::max(most, used);
  return data;
}

void FunctionMemory::release(void *data) {
  auto it = blocks.find(data);
  if (it == blocks.end())
    return;
  used -= it->second;
  blocks.erase(it);
  std::free(data);
}

bool FunctionMemory::take(void *data) {
  auto it = blocks.find(data);
  if (it == blocks.end())
    return false;
  used -= it->second;
  blocks.erase(it);
  return true;
}

uint64_t FunctionMemory::sizeOf(void *data) const {
  auto it = blocks.find(data);
  return it == blocks.end() ? 0 : it->second;
}

} // namespace ee

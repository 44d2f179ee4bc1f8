// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Allocations of the simulated device; see memory.h.
#include "memory.h"

#include "ee/checked.h"

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace ee::gpu {
namespace {

uint64_t pageBytes() {
  static const uint64_t bytes = uint64_t(sysconf(_SC_PAGESIZE));
  return bytes;
}

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", (unsigned long long)value);
  return text;
}

} // namespace

Memory::~Memory() {
  for (auto &[begin, region] : regions) {
    uint64_t page = pageBytes();
    uint64_t whole = (region.bytes + page - 1) / page * page + 2 * page;
    munmap(reinterpret_cast<void *>(begin - page), whole);
  }
}

Expected<uint64_t> Memory::allocate(uint64_t bytes, std::string name) {
  uint64_t page = pageBytes();
  auto padded = checkedAdd(bytes, 3 * page - 1);
  Failure failure{"cannot get " + std::to_string(bytes) + " bytes of memory"};
  if (bytes == 0 || !padded)
    return failure;
  uint64_t whole = *padded / page * page, body = whole - 2 * page;
  void *base = mmap(nullptr, whole, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return failure;
  auto *data = static_cast<uint8_t *>(base) + page;
  if (mprotect(data, body, PROT_READ | PROT_WRITE) != 0) {
    munmap(base, whole);
    return failure;
  }
  if (check)
    std::memset(data, poison, body);
  Region region;
  region.begin = reinterpret_cast<uint64_t>(data);
  region.bytes = bytes;
  region.name = std::move(name);
  if (check)
    region.shadow = std::make_unique<Shadow>(bytes);
  total += bytes;
  last = nullptr;
  uint64_t begin = region.begin;
  regions[begin] = std::move(region);
  return begin;
}

Expected<void> Memory::release(uint64_t address) {
  auto it = regions.find(address);
  if (it == regions.end() || it->second.freed)
    return Failure{hex(address) + " is not the start of an allocation"};
  Region &region = it->second;
  uint64_t page = pageBytes();
  uint64_t body = (region.bytes + page - 1) / page * page;
  total -= region.bytes;
  last = nullptr;
  auto *data = reinterpret_cast<uint8_t *>(address);
  if (!check) {
    munmap(data - page, body + 2 * page);
    regions.erase(it);
    return {};
  }
  // The addresses stay taken, so that a stale pointer never meets a newer
  // allocation; the pages go back to the system.
  madvise(data, body, MADV_DONTNEED);
  mprotect(data, body, PROT_NONE);
  region.freed = true;
  region.shadow.reset();
  return {};
}

Region *Memory::find(uint64_t address, uint64_t length) {
  if (last && last->contains(address, length))
    return last;
  auto it = regions.upper_bound(address);
  if (it == regions.begin())
    return nullptr;
  --it;
  if (it->second.freed || !it->second.contains(address, length))
    return nullptr;
  return last = &it->second;
}

std::string Memory::explain(uint64_t address, uint64_t length) const {
  std::string what = std::to_string(length) + " bytes at " + hex(address);
  auto after = regions.upper_bound(address);
  if (after != regions.begin()) {
    const Region &region = std::prev(after)->second;
    uint64_t offset = address - region.begin;
    if (region.freed && offset < region.bytes)
      return what + " lie in " + region.name + ", which was freed";
    if (offset < region.bytes + pageBytes())
      return what + " lie at offset " + std::to_string(offset) + " of " +
             region.name + ", which has " + std::to_string(region.bytes) +
             " bytes";
  }
  if (after != regions.end() && after->first - address <= pageBytes())
    return what + " lie " + std::to_string(after->first - address) +
           " bytes before " + after->second.name;
  return what + " lie in no allocation";
}

void Memory::written(uint64_t address, uint64_t length) {
  if (!check || length == 0)
    return;
  if (Region *region = find(address, length))
    region->shadow->hostWrote(address - region->begin, length);
}

} // namespace ee::gpu

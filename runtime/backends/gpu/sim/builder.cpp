// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Constants, registers and labels of a kernel under construction.
#include "statement.h"

#include "ee/file.h"

namespace ee::gpu {

KernelBuilder::KernelBuilder(Kernel &kernel) : kernel(kernel) {
  kernel.registerBytes = SpecialCount * 4 * warpLanes;
  kernel.predicates = 2;
}

Ref KernelBuilder::constant(uint64_t value, bool isWide) {
  auto &pool = isWide ? wide : narrow;
  if (!isWide)
    value = uint32_t(value);
  auto [it, isNew] = pool.try_emplace(value);
  if (isNew) {
    it->second.bits = uint32_t(kernel.constants.size() * 8) | Ref::constantBit |
                      (isWide ? Ref::wideBit : 0);
    // Two narrow lanes share a word.
    uint64_t word = isWide ? value : value << 32 | value;
    kernel.constants.insert(kernel.constants.end(),
                            isWide ? warpLanes : warpLanes / 2, word);
  }
  return it->second;
}

Ref KernelBuilder::newRegister(bool isWide) {
  Ref ref{kernel.registerBytes | (isWide ? Ref::wideBit : 0)};
  kernel.registerBytes += (isWide ? 8 : 4) * warpLanes;
  return ref;
}

void KernelBuilder::defineLabel(std::string_view label, uint32_t line) {
  auto [it, isNew] =
      labels.try_emplace(std::string(label), int32_t(kernel.code.size()));
  if (!isNew)
    throw PtxError(line, "label " + inQuotes(label) + " is defined twice");
}

int32_t KernelBuilder::target(const std::string &label, uint32_t line) const {
  auto it = labels.find(label);
  if (it == labels.end())
    throw PtxError(line, "label " + inQuotes(label) + " is not defined");
  return it->second;
}

void KernelBuilder::resolve() {
  for (const Use &use : branches)
    kernel.code[use.instruction].target = target(use.label, use.line);
  for (const Use &use : tableUses) {
    auto it = tables.find(use.label);
    if (it == tables.end())
      throw PtxError(use.line,
                     "branch table " + inQuotes(use.label) + " is not defined");
    std::vector<int32_t> targets;
    for (const std::string &label : it->second)
      targets.push_back(target(label, use.line));
    kernel.code[use.instruction].target = int32_t(kernel.branchTables.size());
    kernel.branchTables.push_back(std::move(targets));
  }
}

} // namespace ee::gpu

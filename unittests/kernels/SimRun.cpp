// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Device memory, launches and the way back.

#include "SimRun.h"

#include "sim/machine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace kernels_test;

[[noreturn]] static void die(const std::string &what) {
  std::fprintf(stderr, "kernel test harness: %s\n", what.c_str());
  std::exit(2);
}

SimRun::SimRun(const std::string &ptx, const SimOptions &options)
    : machine(std::make_unique<ee::gpu::Machine>(
          ee::gpu::SimOptions{/*check=*/true, options.seed})) {
  auto loaded = machine->load(ptx);
  if (!loaded)
    die(loaded.error());
  module = std::move(*loaded);
}

SimRun::~SimRun() = default;

uint64_t SimRun::place(const void *data, size_t bytes, const char *name) {
  auto address = machine->memory.allocate(std::max<size_t>(bytes, 1), name);
  if (!address)
    die(address.error());
  if (bytes)
    std::memcpy(reinterpret_cast<void *>(*address), data, bytes);
  machine->memory.written(*address, bytes);
  return *address;
}

void SimRun::share(const void *data, size_t bytes, const char *name) {
  mappings.push_back(
      {static_cast<const uint8_t *>(data), bytes, place(data, bytes, name)});
}

template <typename T> T *SimRun::translate(T *pointer) const {
  if (!pointer)
    return nullptr;
  auto *byte = reinterpret_cast<const uint8_t *>(pointer);
  for (const Mapping &m : mappings)
    if (byte >= m.host && byte < m.host + std::max<size_t>(m.bytes, 1))
      return reinterpret_cast<T *>(m.device + uint64_t(byte - m.host));
  die("the arguments point to memory that was not shared");
}

std::string SimRun::run(const ee_stage_args &args,
                        const adaptive::kernels::LayerContext &context,
                        const std::vector<adaptive::kernels::Launch> &launches,
                        int64_t kvLevels, size_t weights) {
  ee_stage_args moved = args;
  auto to = [&](auto &pointer) { pointer = translate(pointer); };
  to(moved.rows), to(moved.n_active), to(moved.row_store), to(moved.arena);
  to(moved.worker_scratch), to(moved.policies), to(moved.samplers);
  ee_rows &c = moved.columns;
  to(c.token), to(c.sequence), to(c.position), to(c.depth), to(c.policy);
  to(c.script), to(c.flags), to(c.decision), to(c.criteria);
  moved.team = nullptr;
  std::vector<uint64_t> owned;
  auto own = [&](const void *data, size_t bytes, const char *name) {
    owned.push_back(place(data, bytes, name));
    return owned.back();
  };
  std::vector<const void *> table(args.weights, args.weights + weights);
  for (const void *&weight : table)
    to(weight);
  moved.weights = reinterpret_cast<const void *const *>(
      own(table.data(), table.size() * sizeof(void *), "weights"));
  std::vector<ee_kv_level> levels(args.kv, args.kv + kvLevels);
  for (ee_kv_level &level : levels)
    to(level.pages), to(level.table);
  moved.kv = reinterpret_cast<const ee_kv_level *>(
      own(levels.data(), levels.size() * sizeof(ee_kv_level), "kv levels"));
  uint64_t block = own(&moved, sizeof moved, "arguments");

  std::string problems;
  for (const adaptive::kernels::Launch &launch : launches) {
    std::vector<uint64_t> parameters = {
        block, uint64_t(context.kvLayer), uint64_t(context.firstWeight),
        uint64_t(launch.itemsPerRow), uint64_t(launch.itemsFixed)};
    parameters.insert(parameters.end(), launch.offsets.begin(),
                      launch.offsets.end());
    std::vector<uint8_t> bytes(parameters.size() * 8);
    std::memcpy(bytes.data(), parameters.data(), bytes.size());
    auto kernel = module->kernels.find(launch.function);
    if (kernel == module->kernels.end())
      die("the PTX has no kernel " + launch.function);
    auto done = machine->launch(kernel->second, *module, {uint32_t(groups / 4)},
                                {64}, 0, bytes);
    if (!done)
      problems += done.error() + "\n";
  }
  for (const ee::gpu::Finding &finding : machine->findings)
    problems += finding.text + "\n";
  machine->findings.clear();
  for (const Mapping &m : mappings) {
    // Weights and the like are shared as constants, yet copying back what did
    // not change writes nothing new.
    auto *device = reinterpret_cast<const void *>(m.device);
    if (std::memcmp(m.host, device, m.bytes))
      std::memcpy(const_cast<uint8_t *>(m.host), device, m.bytes);
    (void)machine->memory.release(m.device);
  }
  for (uint64_t address : owned)
    (void)machine->memory.release(address);
  mappings.clear();
  return problems;
}

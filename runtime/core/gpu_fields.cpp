// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads the `gpu` part of a manifest; see gpu_fields.h.
#include "gpu_fields.h"

#include "ee/checked.h"
#include "ee/file.h"

namespace ee {
namespace {

/// Items, offsets and sizes beyond this are nonsense, and sums of two of them
/// cannot overflow.
constexpr int64_t maxSize = int64_t(1) << 40;
constexpr int64_t maxSm = 999;

/// A file of the artifact that is named with its hash.
size_t hashedFile(const Field &entry, const char *name, const Manifest &m) {
  size_t file = findFile(entry.at(name), m);
  if (entry.at("sha256").string() != m.files[file].sha256)
    entry.at("sha256").fail("differs from the hash of " +
                            inQuotes(m.files[file].path) + " in files");
  return file;
}

GpuCodeEntry readCode(const Field &entry, int64_t lowestSm, const Manifest &m) {
  GpuCodeEntry code;
  code.sm = entry.at("sm").integer(50, maxSm);
  if (code.sm <= lowestSm)
    entry.at("sm").fail("must be above that of the entry before, " +
                        std::to_string(lowestSm));
  code.ptx = hashedFile(entry, "ptx", m);
  auto cubins = entry.find("cubins");
  if (!cubins)
    return code;
  int64_t last = 0;
  for (const Field &item : cubins->items(64)) {
    GpuCubin cubin;
    cubin.sm = item.at("sm").integer(code.sm, maxSm);
    if (cubin.sm <= last)
      item.at("sm").fail("must be above that of the cubin before, " +
                         std::to_string(last));
    last = cubin.sm;
    cubin.file = hashedFile(item, "file", m);
    code.cubins.push_back(cubin);
  }
  return code;
}

GpuLaunch readLaunch(const Field &entry) {
  GpuLaunch launch;
  launch.kernel = entry.at("kernel").string(256);
  if (launch.kernel.empty())
    entry.at("kernel").fail("must not be empty");
  launch.itemsPerRow = entry.at("items_per_row").integer(0, maxSize);
  launch.itemsFixed = entry.at("items_fixed").integer(0, maxSize);
  if (launch.itemsPerRow == 0 && launch.itemsFixed == 0)
    entry.at("items_fixed").fail("must be positive where items_per_row is 0");
  for (const Field &offset : entry.at("offsets").items(256))
    launch.offsets.push_back(uint64_t(offset.integer(0, INT64_MAX)));
  return launch;
}

GpuStep readStep(const Field &entry, const Manifest &m) {
  int64_t weights = int64_t(m.weights.size());
  GpuStep step;
  step.repeat = entry.at("repeat").integer(0, 65536);
  step.firstWeight = entry.at("first_weight").integer(0, weights);
  step.weightStride = entry.at("weight_stride").integer(0, weights);
  step.firstInLevel = entry.at("first_in_level").integer(0, 65536);
  if (step.firstWeight + step.weightStride * step.repeat > weights)
    entry.at("weight_stride")
        .fail("leads " + std::to_string(step.repeat) +
              " layers beyond the last of " + std::to_string(weights) +
              " weights");
  for (const Field &launch : entry.at("launches").items(65536))
    step.launches.push_back(readLaunch(launch));
  if (step.launches.empty())
    entry.at("launches").fail("must list at least one launch");
  return step;
}

} // namespace

GpuCode readGpu(const Field &gpu, const Manifest &m) {
  GpuCode result;
  result.profile = gpu.at("profile").string(256);
  if (result.profile.empty())
    gpu.at("profile").fail("must not be empty");
  result.threads = gpu.at("threads").multiple(32, 1024);
  if (result.threads == 0)
    gpu.at("threads").fail("must be positive");
  int64_t lowestSm = 0;
  for (const Field &entry : gpu.at("code").items(16)) {
    result.code.push_back(readCode(entry, lowestSm, m));
    lowestSm = result.code.back().sm;
  }
  if (result.code.empty())
    gpu.at("code").fail("must list PTX for at least one SM version");
  for (const Field &entry : gpu.at("stages").items(65536)) {
    GpuStage stage;
    for (const Field &step : entry.at("steps").items(65536))
      stage.steps.push_back(readStep(step, m));
    result.stages.push_back(std::move(stage));
  }
  if (result.stages.size() != m.stages.size())
    gpu.at("stages").fail("has " + std::to_string(result.stages.size()) +
                          " entries, the artifact has " +
                          std::to_string(m.stages.size()) + " stages");
  return result;
}

} // namespace ee

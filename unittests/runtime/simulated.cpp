// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Toy stages on the simulated GPU: a kernel for each, which is a function of
// the host that calls the stage as the CPU would.
#include "backends/gpu/gpu.h"
#include "backends/gpu/sim/sim_driver.h"
#include "devices.h"

#include <stdexcept>

namespace toy {
namespace {

void runSerial(ee_team *, ee_kernel_fn kernel, const ee_stage_args *args,
               const void *context, int64_t items, int64_t) {
  if (items > 0)
    kernel(args, context, 0, items, 0);
}

void runStage(ee_stage_fn stage, uint64_t arguments) {
  ee_team team = {runSerial, 1};
  ee_stage_args args = *reinterpret_cast<const ee_stage_args *>(arguments);
  args.team = &team;
  stage(&args);
}

} // namespace

std::unique_ptr<ee::Device> makeSimulated(const ee::Artifact &artifact,
                                          int64_t) {
  ee::gpu::SimDeviceOptions options;
  options.check = true;
  auto driver = std::make_shared<ee::gpu::SimDriver>(options);
  ee::GpuCode code;
  code.threads = 128;
  code.code.push_back({80, 0, {}});
  for (size_t i = 0; i < artifact.stages().size(); ++i) {
    std::string name = "stage" + std::to_string(i);
    ee_stage_fn stage = artifact.stages()[i];
    driver->addHostKernel(
        name, {5, [stage](ee::gpu::Dim, ee::gpu::Dim, const uint64_t *values) {
                 runStage(stage, values[0]);
               }});
    code.stages.push_back({{{0, 0, 0, 0, {{name, 1, 0, {}}}}}});
  }
  auto gpu = ee::gpu::Gpu::open(driver->table(), "sim", driver);
  if (!gpu)
    throw std::runtime_error(gpu.error());
  auto read = [](size_t) -> ee::Expected<ee::gpu::CodeImage> {
    return ee::gpu::CodeImage{".version 7.0\n.target sm_80\n"
                              ".address_size 64\n",
                              "toy"};
  };
  auto device = ee::gpu::createGpuDevice(artifact, code, read, *gpu);
  if (!device)
    throw std::runtime_error(device.error());
  return std::move(*device);
}

} // namespace toy

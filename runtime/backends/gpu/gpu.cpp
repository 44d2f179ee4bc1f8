// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Opening a GPU and loading code into it; see gpu.h.
#include "gpu.h"

#include "ee/file.h"

namespace ee::gpu {

Expected<std::shared_ptr<Gpu>> Gpu::open(Driver driver, const char *name,
                                         std::shared_ptr<void> owner) {
  std::shared_ptr<Gpu> gpu(new Gpu());
  gpu->owner = std::move(owner);
  gpu->table = std::move(driver);
  gpu->kind = name;
  const Driver &d = gpu->table;
  int major = 0, minor = 0, processors = 1;
  Result result = d.deviceGet(&gpu->device, 0);
  auto attribute = [&](int &value, DeviceAttribute which) {
    if (result == Result::Success)
      result = d.deviceGetAttribute(&value, which, gpu->device);
  };
  attribute(major, DeviceAttribute::ComputeCapabilityMajor);
  attribute(minor, DeviceAttribute::ComputeCapabilityMinor);
  attribute(processors, DeviceAttribute::MultiprocessorCount);
  if (result != Result::Success)
    return gpu->failed("tell what it is", result);
  gpu->capability = 10 * major + minor;
  gpu->processors = std::max(1, processors);
  result = d.devicePrimaryCtxRetain(&gpu->context, gpu->device);
  if (result != Result::Success) {
    gpu->context = nullptr;
    return gpu->failed("be used", result);
  }
  if (auto ok = gpu->enter(); !ok)
    return ok.takeFailure();
  return gpu;
}

Gpu::~Gpu() {
  if (context)
    (void)table.devicePrimaryCtxRelease(device);
}

Expected<void> Gpu::enter() const {
  Result result = table.ctxSetCurrent(context);
  if (result != Result::Success)
    return failed("be used by this thread", result);
  return {};
}

Failure Gpu::failed(const std::string &what, Result result) const {
  return {"the GPU cannot " + what + ": " + table.explain(result)};
}

Expected<std::shared_ptr<LoadedModule>> Gpu::load(const std::string &image,
                                                  const std::string &hash) {
  if (auto it = modules.find(hash); it != modules.end())
    if (auto loaded = it->second.lock())
      return loaded;
  std::string log(4096, '\0');
  JitOption names[] = {JitOption::ErrorLogBuffer,
                       JitOption::ErrorLogBufferBytes};
  void *values[] = {log.data(), reinterpret_cast<void *>(log.size())};
  ModuleHandle handle = nullptr;
  Result result =
      table.moduleLoadDataEx(&handle, image.c_str(), 2, names, values);
  if (result != Result::Success) {
    Failure failure = failed("load the artifact's code", result);
    // The first line of the compiler's log; the simulator's is the report.
    log = log.substr(0, log.find_first_of(std::string("\0\n", 2)));
    if (!log.empty() && failure.message.find(log) == std::string::npos)
      failure.message += ": " + log;
    return failure;
  }
  auto loaded = std::make_shared<LoadedModule>(shared_from_this(), handle);
  modules[hash] = loaded;
  return loaded;
}

LoadedModule::~LoadedModule() {
  if (gpu->enter())
    (void)gpu->driver().moduleUnload(handle);
}

Expected<FunctionHandle> LoadedModule::function(const std::string &name) const {
  FunctionHandle function = nullptr;
  Result result =
      gpu->driver().moduleGetFunction(&function, handle, name.c_str());
  if (result != Result::Success)
    return gpu->failed("find kernel " + inQuotes(name), result);
  return function;
}

Expected<CodeChoice> chooseCode(const GpuCode &code, int sm, bool cubins) {
  const GpuCodeEntry *best = nullptr;
  for (const GpuCodeEntry &entry : code.code)
    if (entry.sm <= sm && (!best || entry.sm > best->sm))
      best = &entry;
  if (!best)
    return Failure{"the artifact has GPU code for sm_" +
                   std::to_string(code.code.empty() ? 0 : code.code[0].sm) +
                   " and later, this GPU is sm_" + std::to_string(sm)};
  CodeChoice choice;
  choice.file = best->ptx;
  const GpuCubin *fitting = nullptr;
  // Machine code runs on later minor versions of its major version only.
  for (const GpuCubin &cubin : best->cubins)
    if (cubin.sm <= sm && cubin.sm / 10 == sm / 10 &&
        (!fitting || cubin.sm > fitting->sm))
      fitting = &cubin;
  if (cubins && fitting) {
    choice.file = fitting->file;
    choice.ptx = best->ptx;
  }
  return choice;
}

} // namespace ee::gpu

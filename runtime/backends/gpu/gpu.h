// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A GPU behind the runtime's device interface: memory, submissions and the
// launch lists of a manifest over a table of driver functions.
#ifndef EE_GPU_GPU_H
#define EE_GPU_GPU_H

#include "driver.h"
#include "ee/device.h"

#include <map>
#include <memory>
#include <string>

namespace ee::gpu {

/// A module that is loaded; unloaded with its last user.
class LoadedModule;

/// A GPU that is open: the table, its context, and the modules that artifacts
/// have loaded into it, each once.
class Gpu : public std::enable_shared_from_this<Gpu> {
public:
  /// The first GPU of `driver`. `name` is what `--device` says. `owner` keeps
  /// alive what the table needs, or is null.
  static Expected<std::shared_ptr<Gpu>> open(Driver driver, const char *name,
                                             std::shared_ptr<void> owner);
  ~Gpu();

  const Driver &driver() const { return table; }
  const char *name() const { return kind; }
  int sm() const { return capability; } // 86 is 8.6
  int64_t multiprocessors() const { return processors; }

  /// Makes this the GPU of the calling thread. Before all other calls.
  Expected<void> enter() const;
  /// A failure that says what was done: "the GPU cannot ...: ...".
  Failure failed(const std::string &what, Result result) const;
  /// The module of `image`, whose SHA-256 is `hash`.
  Expected<std::shared_ptr<LoadedModule>> load(const std::string &image,
                                               const std::string &hash);

private:
  Gpu() = default;

  std::shared_ptr<void> owner; // goes last
  Driver table;
  const char *kind = "";
  DeviceHandle device = 0;
  ContextHandle context = nullptr;
  int capability = 0;
  int64_t processors = 1;
  std::map<std::string, std::weak_ptr<LoadedModule>> modules;
};

class LoadedModule {
public:
  LoadedModule(std::shared_ptr<Gpu> gpu, ModuleHandle handle)
      : gpu(std::move(gpu)), handle(handle) {}
  ~LoadedModule();
  LoadedModule(const LoadedModule &) = delete;

  Expected<FunctionHandle> function(const std::string &name) const;

private:
  std::shared_ptr<Gpu> gpu;
  ModuleHandle handle;
};

/// Which code of an artifact a GPU runs: the highest SM not above its own, as
/// a cubin where one fits.
struct CodeChoice {
  size_t file = 0;           ///< index into Manifest::files
  std::optional<size_t> ptx; ///< to fall back to where `file` is a cubin
};
Expected<CodeChoice> chooseCode(const GpuCode &code, int sm, bool cubins);

/// A file of code.
struct CodeImage {
  std::string bytes, sha256;
};
using ReadCode = std::function<Expected<CodeImage>(size_t file)>;

/// The device for the stages and weights of `artifact`, which is loaded and
/// outlives it, with this code. A test may bring code of its own.
Expected<std::unique_ptr<Device>> createGpuDevice(const Artifact &artifact,
                                                  const GpuCode &code,
                                                  const ReadCode &read,
                                                  std::shared_ptr<Gpu> gpu);
/// With the code that the artifact has.
Expected<std::unique_ptr<Device>> createGpuDevice(const Artifact &artifact,
                                                  std::shared_ptr<Gpu> gpu);

} // namespace ee::gpu

#endif // EE_GPU_GPU_H

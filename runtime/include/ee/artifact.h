// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A loaded artifact: checked manifest, mapped weights, code for one device.
// Loading runs native code of the artifact; load only what you trust as much
// as a program.
#ifndef EE_ARTIFACT_H
#define EE_ARTIFACT_H

#include "ee/abi.h"
#include "ee/cpu_features.h"
#include "ee/file.h"
#include "ee/function_abi.h"
#include "ee/manifest.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ee {

/// Where stages run. `Guarded` is a debugging device (ee/device.h).
enum class DeviceKind { Cpu, Guarded, Sim, Cuda };

/// As `--device` spells it.
const char *deviceKindName(DeviceKind kind);
Expected<DeviceKind> parseDeviceKind(std::string_view text);
/// Whether the code that runs there is the artifact's GPU part.
inline bool runsGpuCode(DeviceKind kind) {
  return kind == DeviceKind::Sim || kind == DeviceKind::Cuda;
}

struct ArtifactOptions {
  /// Decides which part of the code is needed and loaded.
  DeviceKind device = DeviceKind::Cpu;
  /// A level of the manifest, or empty for the best that the CPU runs.
  std::string cpuLevel;
  /// What the CPU can do; tests set it.
  std::optional<CpuFeatures> features;
};

class Artifact {
public:
  /// Opens the directory and reads its manifest; runs no code yet.
  static Expected<Artifact> open(const std::string &path);

  Artifact(Artifact &&) noexcept;
  Artifact &operator=(Artifact &&) noexcept;
  ~Artifact();

  const Manifest &manifest() const { return contents; }
  const std::string &path() const { return directory.path(); }

  /// Checks the hashes of the tokenizer and of policy.toml and maps the
  /// weights, whose files must have the sizes of the manifest. For the CPU also
  /// chooses a level, checks the hash of its code and loads it; for a GPU the
  /// code stays with the device, which reads it with `readVerified`. Fails
  /// where the artifact has no code for the device.
  Expected<void> load(const ArtifactOptions &options = {});

  /// After `load`: for what.
  std::optional<DeviceKind> loadedFor() const { return device; }
  /// After `load` for the CPU: the level chosen, one function per stage.
  const CpuCodeEntry &code() const { return contents.cpu[codeIndex]; }
  const std::vector<ee_stage_fn> &stages() const { return functions; }
  /// After `load`: the profile of the numerics of the code.
  const std::string &profile() const;
  /// After `load` of an artifact of kind function, else null.
  ee_function_fn function() const { return entry; }
  /// After `load`: one pointer per weight.
  const std::vector<const void *> &weights() const { return weightPointers; }
  /// After `load`: an exported symbol of the code, or null.
  void *symbol(const char *name) const;

  /// Opens a file of the manifest by its index; its size is checked.
  Expected<File> openFile(size_t index) const;
  /// Reads and hashes one file in full.
  Expected<void> verifyFile(size_t index) const;
  /// The contents of a file of at most `maxBytes` with the manifest's hash.
  Expected<std::string> readVerified(size_t index, uint64_t maxBytes) const;

private:
  explicit Artifact(Directory directory) : directory(std::move(directory)) {}
  Expected<void> checkCode(const ArtifactOptions &options) const;
  Expected<size_t> chooseLevel(const ArtifactOptions &options) const;
  Expected<void> loadCode(size_t index);
  Expected<void> checkAbi(const char *symbol, int32_t provided,
                          const std::string &file) const;
  Expected<void> mapWeights();

  Directory directory;
  Manifest contents;
  std::optional<DeviceKind> device;
  size_t codeIndex = 0;
  std::optional<File> codeFile; ///< open as long as its code is loaded
  void *library = nullptr;
  std::vector<ee_stage_fn> functions;
  ee_function_fn entry = nullptr;
  std::vector<MappedFile> maps;
  std::vector<const void *> weightPointers;
};

} // namespace ee

#endif // EE_ARTIFACT_H

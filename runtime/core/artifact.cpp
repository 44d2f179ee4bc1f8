// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Opens, checks and loads artifacts. The CPU's code is loaded through the
// descriptor that was hashed, so a file swapped under the same name is not run.
#include "ee/artifact.h"

#include "ee/sha256.h"

#include <atomic>
#include <cerrno>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <utility>

namespace ee {
namespace {
constexpr uint64_t maxManifestBytes = uint64_t(64) << 20;
constexpr uint64_t maxFileBytes = uint64_t(1) << 40;
} // namespace

Expected<Artifact> Artifact::open(const std::string &path) {
  auto directory = Directory::open(path);
  if (!directory)
    return directory.takeFailure();
  Artifact result(std::move(*directory));
  auto file =
      File::openBeneath(result.directory, "manifest.json", maxManifestBytes);
  if (!file) {
    // A manifest that is there but cannot be opened says nothing about what
    // the folder is.
    struct stat info;
    bool missing = ::fstatat(result.directory.descriptor(), "manifest.json",
                             &info, AT_SYMLINK_NOFOLLOW) != 0 &&
                   errno == ENOENT;
    return Failure{missing
                       ? inQuotes(path) + " is not an artifact: " + file.error()
                       : file.error()};
  }
  auto text = file->readAll(maxManifestBytes);
  if (!text)
    return text.takeFailure();
  auto manifest = parseManifest(*text);
  if (!manifest)
    return Failure{inQuotes(path) + ": " + manifest.error()};
  result.contents = std::move(*manifest);
  return result;
}

Artifact::Artifact(Artifact &&other) noexcept
    : directory(std::move(other.directory)),
      contents(std::move(other.contents)),
      device(std::exchange(other.device, {})), codeIndex(other.codeIndex),
      codeFile(std::move(other.codeFile)),
      library(std::exchange(other.library, nullptr)),
      functions(std::move(other.functions)), entry(other.entry),
      maps(std::move(other.maps)),
      weightPointers(std::move(other.weightPointers)) {}

Artifact &Artifact::operator=(Artifact &&other) noexcept {
  std::swap(directory, other.directory);
  std::swap(contents, other.contents);
  std::swap(device, other.device);
  std::swap(codeIndex, other.codeIndex);
  std::swap(codeFile, other.codeFile);
  std::swap(library, other.library);
  std::swap(functions, other.functions);
  std::swap(entry, other.entry);
  std::swap(maps, other.maps);
  std::swap(weightPointers, other.weightPointers);
  return *this;
}

Artifact::~Artifact() {
  if (library)
    dlclose(library);
}

Expected<size_t> Artifact::chooseLevel(const ArtifactOptions &options) const {
  CpuFeatures features =
      options.features ? *options.features : CpuFeatures::detect();
  std::string has;
  for (const CpuCodeEntry &code : contents.cpu)
    has += (has.empty() ? "" : ", ") + code.level;
  if (!options.cpuLevel.empty()) {
    for (size_t i = 0; i < contents.cpu.size(); ++i) {
      if (contents.cpu[i].level != options.cpuLevel)
        continue;
      if (!features.supports(options.cpuLevel))
        return Failure{"this CPU cannot run the level " + options.cpuLevel +
                       " (artifact has " + has + ")"};
      return i;
    }
    return Failure{"no CPU level " + inQuotes(options.cpuLevel) +
                   " in the artifact, accepted are " + has};
  }
  for (size_t i = contents.cpu.size(); i-- > 0;)
    if (features.supports(contents.cpu[i].level))
      return i;
  if (!features.v3)
    return Failure{"this CPU is below x86-64-v3 (AVX2, FMA, F16C, BMI), which "
                   "is the least that artifacts run on"};
  return Failure{"this CPU runs none of the artifact's levels (" + has + ")"};
}

Expected<File> Artifact::openFile(size_t index) const {
  const FileEntry &entry = contents.files[index];
  auto file = File::openBeneath(directory, entry.path, maxFileBytes);
  if (!file)
    return file.takeFailure();
  if (file->size() != entry.bytes)
    return Failure{inQuotes(entry.path) + " has " +
                   std::to_string(file->size()) + " bytes, the manifest says " +
                   std::to_string(entry.bytes)};
  return file;
}

Expected<void> Artifact::verifyFile(size_t index) const {
  auto file = openFile(index);
  if (!file)
    return file.takeFailure();
  auto hash = sha256Hex(*file);
  if (!hash)
    return hash.takeFailure();
  if (*hash != contents.files[index].sha256)
    return Failure{inQuotes(contents.files[index].path) +
                   " does not have the hash of the manifest"};
  return {};
}

Expected<std::string> Artifact::readVerified(size_t index,
                                             uint64_t maxBytes) const {
  auto file = openFile(index);
  if (!file)
    return file.takeFailure();
  auto text = file->readAll(maxBytes);
  if (!text)
    return text.takeFailure();
  auto hash = sha256Hex(*text);
  if (!hash)
    return hash.takeFailure();
  if (*hash != contents.files[index].sha256)
    return Failure{inQuotes(contents.files[index].path) +
                   " does not have the hash of the manifest"};
  return text;
}

Expected<void> Artifact::checkAbi(const char *symbol, int32_t provided,
                                  const std::string &file) const {
  auto abi = static_cast<const int32_t *>(dlsym(library, symbol));
  if (!abi)
    return Failure{file + " has no symbol " + symbol};
  if (*abi != provided)
    return Failure{
        file + " was compiled for " +
        (contents.kind == ArtifactKind::Decoder ? "stage" : "function") +
        " ABI " + std::to_string(*abi) + ", this runtime provides " +
        std::to_string(provided)};
  return {};
}

Expected<void> Artifact::loadCode(size_t index) {
  const CpuCodeEntry &code = contents.cpu[index];
  const std::string name = inQuotes(contents.files[code.file].path);
  auto file = openFile(code.file);
  if (!file)
    return file.takeFailure();
  auto hash = sha256Hex(*file);
  if (!hash)
    return hash.takeFailure();
  if (*hash != code.sha256)
    return Failure{name + " does not have the hash of the manifest"};
  // The loader knows libraries by name and would return another one that was
  // loaded through a descriptor of this number: the descriptor stays open as
  // long as the code, and slashes tell apart libraries that never leave.
  static std::atomic<unsigned> loads = 0;
  std::string viaDescriptor = "/proc/self/fd" +
                              std::string(1 + loads++ % 1024, '/') +
                              std::to_string(file->descriptor());
  library = dlopen(viaDescriptor.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    // dlerror names the descriptor path; the user knows the file.
    return Failure{name + " cannot be loaded as a shared object"};
  }
  bool stages = contents.kind == ArtifactKind::Decoder;
  if (auto abi = checkAbi(stages ? "ee_stage_abi" : "ee_function_abi",
                          stages ? EE_STAGE_ABI : EE_FUNCTION_ABI, name);
      !abi)
    return abi;
  auto profile = static_cast<const char *>(dlsym(library, "ee_profile"));
  if (!profile)
    return Failure{name + " has no symbol ee_profile"};
  if (code.profile != profile)
    return Failure{name + " has numerics profile " + inQuotes(profile) +
                   ", the manifest says " + inQuotes(code.profile)};
  if (!stages) {
    const std::string &symbol = contents.function.symbol;
    entry = reinterpret_cast<ee_function_fn>(dlsym(library, symbol.c_str()));
    if (!entry)
      return Failure{name + " has no symbol " + inQuotes(symbol)};
  }
  for (const StageEntry &stage : contents.stages) {
    void *function = dlsym(library, stage.symbol.c_str());
    if (!function)
      return Failure{name + " has no symbol " + inQuotes(stage.symbol) +
                     " for stage " + inQuotes(stage.name)};
    functions.push_back(reinterpret_cast<ee_stage_fn>(function));
  }
  codeIndex = index;
  codeFile = std::move(*file);
  return {};
}

Expected<void> Artifact::mapWeights() {
  constexpr size_t unmapped = SIZE_MAX;
  std::vector<size_t> mapOf(contents.files.size(), unmapped);
  for (const WeightEntry &weight : contents.weights) {
    if (mapOf[weight.file] == unmapped) {
      auto file = openFile(weight.file);
      if (!file)
        return file.takeFailure();
      auto map = file->map();
      if (!map)
        return map.takeFailure();
      mapOf[weight.file] = maps.size();
      maps.push_back(std::move(*map));
    }
    weightPointers.push_back(maps[mapOf[weight.file]].bytes().data() +
                             weight.offset);
  }
  return {};
}

/// Whether there is code for the device, and what there is where not.
Expected<void> Artifact::checkCode(const ArtifactOptions &options) const {
  std::string asked = std::string("--device=") + deviceKindName(options.device);
  if (runsGpuCode(options.device)) {
    if (contents.kind == ArtifactKind::Function)
      return Failure{inQuotes(path()) +
                     " is a function, which runs on the CPU only: " + asked +
                     " is not accepted"};
    if (!contents.gpu)
      return Failure{inQuotes(path()) + " has no code for a GPU (" + asked +
                     "): it was compiled for the CPU only"};
    if (!options.cpuLevel.empty())
      return Failure{"--cpu-level chooses code of the CPU and has no meaning "
                     "with " +
                     asked};
    return {};
  }
  if (contents.cpu.empty())
    return Failure{inQuotes(path()) + " has no code for the CPU (" + asked +
                   "): it was compiled for GPUs only, accepted are "
                   "--device=cuda and --device=sim"};
  if (contents.kind == ArtifactKind::Function &&
      options.device != DeviceKind::Cpu)
    return Failure{inQuotes(path()) + " is a function: " + asked +
                   " is not accepted, --device=cpu is"};
  return {};
}

Expected<void> Artifact::load(const ArtifactOptions &options) {
  if (device)
    return Failure{inQuotes(path()) + " is loaded already"};
  if (auto ok = checkCode(options); !ok)
    return ok;
  bool gpu = runsGpuCode(options.device);
  size_t level = 0;
  if (!gpu) {
    auto chosen = chooseLevel(options);
    if (!chosen)
      return chosen.takeFailure();
    level = *chosen;
  }
  if (auto mapped = mapWeights(); !mapped)
    return mapped;
  // Small files that decide what comes out.
  for (std::optional<size_t> text : {contents.tokenizer, contents.policy})
    if (text)
      if (auto same = verifyFile(*text); !same)
        return same;
  if (!gpu)
    if (auto loaded = loadCode(level); !loaded)
      return loaded;
  device = options.device;
  return {};
}

const std::string &Artifact::profile() const {
  return device && runsGpuCode(*device) ? contents.gpu->profile
                                        : code().profile;
}

void *Artifact::symbol(const char *name) const {
  return library ? dlsym(library, name) : nullptr;
}

} // namespace ee

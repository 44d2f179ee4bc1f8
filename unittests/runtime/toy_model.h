// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The toy model as an artifact on disk, and its dense reference: one sequence
// at a time, every layer in order, plain vectors for KV, no scheduler.
#ifndef EE_UNITTESTS_TOY_MODEL_H
#define EE_UNITTESTS_TOY_MODEL_H

#include "devices.h"
#include "ee/artifact.h"
#include "ee/session.h"
#include "toy_math.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace toy {

/// A directory that is removed at the end.
class TempDir {
public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir &) = delete;
  const std::filesystem::path &path() const { return directory; }

private:
  std::filesystem::path directory;
};

/// The manifest of the toy model; `fill` is "exact" or "propagate", followed by
/// "-early-head" for the variant whose first exit samples before its decision.
nlohmann::json manifest(const std::string &fill);

/// Writes the artifact with this manifest; hashes and sizes are filled in
/// where the manifest says "auto".
void write(const std::filesystem::path &directory, nlohmann::json manifest);

/// A loaded toy artifact and where its sessions run.
struct Model {
  explicit Model(const std::string &fill,
                 const TestDevice &device = testDevices[0]);
  ee::Expected<std::unique_ptr<ee::Session>>
  session(const ee::SessionOptions &options) const;
  /// What compiled code saw and should not have.
  int32_t errors() const;
  TempDir directory;
  ee::Artifact artifact;
  TestDevice device;
};

struct Expectation {
  std::vector<int32_t> ids, depth, exits;
  std::vector<uint64_t> hashes;
  /// Per prompt position with emitAllRows: hash of logits, depth.
  std::vector<uint64_t> promptHashes;
  std::vector<int32_t> promptDepth;
};

/// What the model must do with a request, read densely.
Expectation reference(const ee::Request &request, const ee_policy &policy,
                      const std::string &fill);

} // namespace toy

#endif // EE_UNITTESTS_TOY_MODEL_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds ee_policy records: seeds of the manifest, overlaid by policy.toml
// files, overlaid by flags. docs/ArtifactFormat.md describes policy.toml.
#ifndef EE_POLICY_H
#define EE_POLICY_H

#include "ee/abi.h"
#include "ee/manifest.h"

#include <string>
#include <string_view>

namespace ee {

/// A policy record and what the runtime itself needs to know of the policy.
struct Policy {
  ee_policy record = {};
  /// Whether rows of the prompt may leave too. The rows that generate always
  /// may, as far as the record lets them.
  bool promptExits = false;
};

/// All exits active with the thresholds of the manifest.
Policy defaultPolicy(const Manifest &manifest);

/// Overlays the settings of a policy.toml. `what` names it in errors.
Expected<void> applyPolicyToml(Policy &policy, const Manifest &manifest,
                               std::string_view text, std::string_view what);

/// Overlays one "exit=threshold" (exit by name or index, logit space; "never"
/// switches the exit off).
Expected<void> applyThreshold(Policy &policy, const Manifest &manifest,
                              std::string_view setting);

} // namespace ee

#endif // EE_POLICY_H

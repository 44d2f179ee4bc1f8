// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// policy.toml and flags.
#include "ee/policy.h"
#include "toy_model.h"

#include <gtest/gtest.h>

namespace {

class PolicyTest : public testing::Test {
protected:
  PolicyTest() {
    auto parsed = ee::parseManifest(fixedManifest());
    EXPECT_TRUE(parsed) << parsed.error();
    manifest = std::move(*parsed);
    policy = ee::defaultPolicy(manifest);
  }
  static std::string fixedManifest() {
    auto m = toy::manifest("exact");
    for (auto &file : m["files"]) {
      file["bytes"] = 128;
      file["sha256"] = std::string(64, 'a');
    }
    m["cpu"][0]["sha256"] = std::string(64, 'a');
    return m.dump();
  }
  std::string apply(const char *text) {
    auto ok = ee::applyPolicyToml(policy, manifest, text, "policy.toml");
    return ok ? "" : ok.error();
  }
  ee::Manifest manifest;
  ee::Policy policy;
};

TEST_F(PolicyTest, DefaultsComeFromTheManifest) {
  EXPECT_EQ(policy.record.version, uint32_t(EE_POLICY_VERSION));
  EXPECT_EQ(policy.record.criterion_mask, 3u);
  EXPECT_EQ(policy.record.threshold[0], 2.0f);
  EXPECT_EQ(policy.record.max_depth, INT32_MAX);
  EXPECT_EQ(policy.record.force_full, 0u);
  EXPECT_FALSE(policy.promptExits);
}

TEST_F(PolicyTest, TomlOverlays) {
  EXPECT_EQ(apply("version = 1\nforce_full = true\nmin_depth = 2\n"
                  "max_depth = 5\nchunk = 7\ndecay_scale = 0.5\n"
                  "decay_rate = 2\nprompt_exits = true\n"
                  "[exits.early]\nthreshold = 1.25\n"
                  "[exits.1]\nenabled = false\n"),
            "");
  EXPECT_EQ(policy.record.force_full, 1u);
  EXPECT_EQ(policy.record.min_depth, 2);
  EXPECT_EQ(policy.record.max_depth, 5);
  EXPECT_EQ(policy.record.chunk, 7);
  EXPECT_EQ(policy.record.decay_scale, 0.5f);
  EXPECT_EQ(policy.record.decay_rate, 2.0f);
  EXPECT_TRUE(policy.promptExits);
  EXPECT_EQ(policy.record.threshold[0], 1.25f);
  EXPECT_EQ(policy.record.threshold[1], 2.0f);
  EXPECT_EQ(policy.record.criterion_mask, 1u);
}

TEST_F(PolicyTest, BadTomlNamesTheKeyAndChangesNothing) {
  ee::Policy before = policy;
  const char *bad[][2] = {
      {"forcefull = true", "forcefull"},
      {"force_full = 1", "force_full"},
      {"min_depth = 3\nmax_depth = -1", "max_depth"},
      {"version = 2", "version"},
      {"decay_rate = nan", "decay_rate"},
      {"decay_rate = \"x\"", "decay_rate"},
      {"exits = 3", "exits"},
      {"[exits.middle]\nthreshold = 1", "middle"},
      {"[exits.2]\nthreshold = 1", "2"},
      {"[exits.early]\nthreshold = true", "exits.early.threshold"},
      {"[exits.early]\ntreshold = 1", "treshold"},
      {"[exits]\nearly = 3", "exits.early"},
      {"a = [", "policy.toml:1"}};
  for (auto &[text, name] : bad) {
    std::string error = apply(text);
    EXPECT_NE(error.find(name), std::string::npos) << text << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_EQ(memcmp(&before.record, &policy.record, sizeof policy.record), 0);
  }
}

TEST_F(PolicyTest, ThresholdFlags) {
  auto set = [&](const char *text) {
    auto ok = ee::applyThreshold(policy, manifest, text);
    return ok ? "" : ok.error();
  };
  EXPECT_EQ(set("late=-1.5"), "");
  EXPECT_EQ(policy.record.threshold[1], -1.5f);
  EXPECT_EQ(set("0=4"), "");
  EXPECT_EQ(policy.record.threshold[0], 4.0f);
  EXPECT_EQ(set("early=never"), "");
  EXPECT_EQ(policy.record.criterion_mask, 2u);
  for (const char *bad : {"", "late", "late=", "late=x", "late=nan", "late=1x",
                          "middle=1", "7=1", "=1"})
    EXPECT_NE(set(bad), "") << bad;
}

} // namespace

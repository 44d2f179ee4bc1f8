// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The GPU part of an artifact, and artifacts with code for one kind of device.
#include "toy_model.h"

#include <fstream>
#include <functional>
#include <gtest/gtest.h>

namespace {
namespace fs = std::filesystem;
using nlohmann::json;

/// The toy manifest with a GPU part, as the compiler writes it.
json gpuManifest() {
  json m = toy::manifest("exact");
  for (const char *path : {"nvptx/sm_80.ptx", "nvptx/sm_86.cubin"})
    m["files"].push_back(
        {{"path", path}, {"bytes", "auto"}, {"sha256", "auto"}});
  json cubin = {{"sm", 86}, {"file", "nvptx/sm_86.cubin"}, {"sha256", "auto"}};
  json launch = {{"kernel", "k0"},
                 {"items_per_row", 4},
                 {"items_fixed", 0},
                 {"offsets", {0, 64}}};
  json step = {{"repeat", 1},
               {"first_weight", 0},
               {"weight_stride", 1},
               {"first_in_level", 0},
               {"launches", {launch}}};
  m["gpu"] = {{"profile", "nvptx-1"},
              {"threads", 128},
              {"code",
               {{{"sm", 80},
                 {"ptx", "nvptx/sm_80.ptx"},
                 {"sha256", "auto"},
                 {"cubins", {cubin}}}}},
              {"stages", json::array()}};
  for (size_t i = 0; i < m["stages"].size(); ++i)
    m["gpu"]["stages"].push_back({{"steps", {step}}});
  return m;
}

void write(const fs::path &path, const json &m) {
  fs::create_directories(path / "nvptx");
  std::ofstream(path / "nvptx/sm_80.ptx") << ".version 7.4\n";
  std::ofstream(path / "nvptx/sm_86.cubin") << "machine code";
  toy::write(path, m);
}

ee::Expected<ee::Artifact> load(const fs::path &path, ee::DeviceKind device,
                                const char *cpuLevel = "") {
  auto artifact = ee::Artifact::open(path.string());
  if (!artifact)
    return artifact;
  ee::ArtifactOptions options;
  options.features = ee::CpuFeatures{true, true};
  options.device = device;
  options.cpuLevel = cpuLevel;
  if (auto ok = artifact->load(options); !ok)
    return ok.takeFailure();
  return artifact;
}

std::string refusal(const std::function<void(json &)> &change,
                    ee::DeviceKind device = ee::DeviceKind::Sim) {
  toy::TempDir directory;
  json m = gpuManifest();
  change(m);
  write(directory.path(), m);
  auto artifact = load(directory.path(), device);
  return artifact ? "" : artifact.error();
}

TEST(GpuManifestTest, IsReadInFull) {
  toy::TempDir directory;
  write(directory.path(), gpuManifest());
  auto artifact = load(directory.path(), ee::DeviceKind::Cuda);
  ASSERT_TRUE(artifact) << artifact.error();
  EXPECT_EQ(artifact->loadedFor(), ee::DeviceKind::Cuda);
  EXPECT_EQ(artifact->profile(), "nvptx-1");
  EXPECT_TRUE(artifact->stages().empty()) << "no code of the CPU is loaded";
  EXPECT_EQ(artifact->weights().size(), 1u);
  const ee::GpuCode &gpu = *artifact->manifest().gpu;
  EXPECT_EQ(gpu.threads, 128);
  ASSERT_EQ(gpu.code.size(), 1u);
  EXPECT_EQ(gpu.code[0].sm, 80);
  EXPECT_EQ(*artifact->readVerified(gpu.code[0].ptx, 1000), ".version 7.4\n");
  EXPECT_EQ(gpu.code[0].cubins[0].sm, 86);
  EXPECT_EQ(*artifact->readVerified(gpu.code[0].cubins[0].file, 1000),
            "machine code");
  ASSERT_EQ(gpu.stages.size(), 7u);
  const ee::GpuStep &step = gpu.stages[6].steps[0];
  EXPECT_EQ(step.repeat, 1);
  EXPECT_EQ(step.weightStride, 1);
  EXPECT_EQ(step.launches[0].kernel, "k0");
  EXPECT_EQ(step.launches[0].itemsPerRow, 4);
  EXPECT_EQ(step.launches[0].offsets, (std::vector<uint64_t>{0, 64}));
  // No driver, or a driver that refuses this PTX: one line.
  auto session = ee::Session::create(*artifact, {});
  ASSERT_FALSE(session);
  EXPECT_TRUE(session.error().find("CUDA driver") != std::string::npos ||
              session.error().starts_with("the GPU cannot"))
      << session.error();
  EXPECT_EQ(session.error().find('\n'), std::string::npos);
  // The same artifact runs on the CPU.
  auto cpu = load(directory.path(), ee::DeviceKind::Cpu);
  ASSERT_TRUE(cpu) << cpu.error();
  EXPECT_EQ(cpu->profile(), "toy");
  // Code that changed after it was written.
  std::ofstream(directory.path() / "nvptx/sm_80.ptx") << ".version 7.5\n";
  EXPECT_FALSE(artifact->readVerified(gpu.code[0].ptx, 1000));
}

TEST(GpuManifestTest, BadFields) {
  auto code = [](json &m) -> json & { return m["gpu"]["code"][0]; };
  auto step = [](json &m) -> json & {
    return m["gpu"]["stages"][2]["steps"][0];
  };
  auto launch = [&](json &m) -> json & { return step(m)["launches"][0]; };
  struct Case {
    const char *names; // what the error must mention
    std::function<void(json &)> change;
  } cases[] = {
      {"gpu.profile", [](json &m) { m["gpu"]["profile"] = ""; }},
      {"gpu.profile", [](json &m) { m["gpu"].erase("profile"); }},
      {"gpu.threads", [](json &m) { m["gpu"]["threads"] = 100; }},
      {"gpu.threads", [](json &m) { m["gpu"]["threads"] = 0; }},
      {"gpu.threads", [](json &m) { m["gpu"]["threads"] = 2048; }},
      {"gpu.code", [](json &m) { m["gpu"]["code"] = json::array(); }},
      {"gpu.code[0].sm", [&](json &m) { code(m)["sm"] = "80"; }},
      {"gpu.code[0].sm", [&](json &m) { code(m)["sm"] = 8; }},
      {"gpu.code[1].sm", [&](json &m) { m["gpu"]["code"].push_back(code(m)); }},
      {"gpu.code[0].ptx", [&](json &m) { code(m)["ptx"] = "nvptx/x.ptx"; }},
      {"gpu.code[0].sha256",
       [&](json &m) { code(m)["sha256"] = std::string(64, '0'); }},
      {"gpu.code[0].cubins[0].sm",
       [&](json &m) { code(m)["cubins"][0]["sm"] = 75; }},
      {"gpu.code[0].cubins[1].sm",
       [&](json &m) { code(m)["cubins"].push_back(code(m)["cubins"][0]); }},
      {"gpu.code[0].cubins[0].file",
       [&](json &m) { code(m)["cubins"][0]["file"] = "../x"; }},
      {"gpu.code[0].cubins[0].sha256",
       [&](json &m) { code(m)["cubins"][0]["sha256"] = std::string(64, '1'); }},
      {"gpu.stages", [](json &m) { m["gpu"]["stages"].erase(0); }},
      {"gpu.stages[2].steps",
       [](json &m) { m["gpu"]["stages"][2].erase("steps"); }},
      {"gpu.stages[2].steps[0].repeat",
       [&](json &m) { step(m)["repeat"] = -1; }},
      {"gpu.stages[2].steps[0].first_weight",
       [&](json &m) { step(m)["first_weight"] = 2; }},
      {"gpu.stages[2].steps[0].weight_stride",
       [&](json &m) { step(m)["weight_stride"] = 2; }},
      {"gpu.stages[2].steps[0].weight_stride",
       [&](json &m) { step(m)["repeat"] = 2; }},
      {"gpu.stages[2].steps[0].first_in_level",
       [&](json &m) { step(m)["first_in_level"] = -1; }},
      {"gpu.stages[2].steps[0].launches",
       [&](json &m) { step(m)["launches"] = json::array(); }},
      {"launches[0].kernel", [&](json &m) { launch(m)["kernel"] = ""; }},
      {"launches[0].items_per_row",
       [&](json &m) { launch(m)["items_per_row"] = INT64_MAX; }},
      {"launches[0].items_fixed",
       [&](json &m) { launch(m)["items_per_row"] = 0; }},
      {"launches[0].offsets[1]",
       [&](json &m) { launch(m)["offsets"][1] = -64; }},
      {"launches[0].offsets", [&](json &m) { launch(m)["offsets"] = 3; }},
  };
  EXPECT_EQ(refusal([](json &) {}), "");
  int index = 0;
  for (const Case &bad : cases) {
    std::string error = refusal(bad.change);
    EXPECT_NE(error.find(bad.names), std::string::npos)
        << "case " << index << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    ++index;
  }
}

TEST(GpuManifestTest, ADeviceWithoutCodeIsRefused) {
  auto only = [](const char *part) {
    return [part](json &m) {
      if (std::string(part) == "gpu")
        m["cpu"] = json::array();
      else
        m.erase("gpu");
    };
  };
  using ee::DeviceKind;
  EXPECT_EQ(refusal(only("gpu"), DeviceKind::Sim), "");
  EXPECT_EQ(refusal(only("cpu"), DeviceKind::Guarded), "");
  for (DeviceKind kind : {DeviceKind::Cpu, DeviceKind::Guarded})
    EXPECT_NE(refusal(only("gpu"), kind).find("has no code for the CPU"),
              std::string::npos);
  for (DeviceKind kind : {DeviceKind::Sim, DeviceKind::Cuda})
    EXPECT_NE(refusal(only("cpu"), kind).find("has no code for a GPU"),
              std::string::npos);
  EXPECT_NE(refusal([](json &m) {
              m["cpu"] = json::array();
              m.erase("gpu");
            }).find("cpu must list"),
            std::string::npos);
  toy::TempDir directory;
  write(directory.path(), gpuManifest());
  auto level = load(directory.path(), DeviceKind::Sim, "avx512");
  ASSERT_FALSE(level);
  EXPECT_NE(level.error().find("--cpu-level"), std::string::npos);
}

TEST(GpuManifestTest, DeviceNames) {
  for (const char *name : {"cpu", "guarded", "sim", "cuda"})
    EXPECT_STREQ(ee::deviceKindName(*ee::parseDeviceKind(name)), name);
  auto wrong = ee::parseDeviceKind("gpu");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().find("accepted are cpu, sim, cuda"),
            std::string::npos);
}

} // namespace

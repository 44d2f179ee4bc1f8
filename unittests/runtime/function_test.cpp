// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Artifacts of kind function: loading, refusing bad manifests, checking inputs,
// the memory of a call.
#include "function/memory.h"
#include "toy_model.h"

#include "ee/function.h"
#include "ee/sha256.h"

#include <fstream>
#include <functional>
#include <gtest/gtest.h>

namespace {
namespace fs = std::filesystem;
using nlohmann::json;

std::string fileBytes(const fs::path &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The toy function of toy_function.c as an artifact.
struct FunctionModel {
  explicit FunctionModel(const std::function<void(json &)> &change =
                             [](json &) {}) {
    const fs::path &root = directory.path();
    fs::create_directories(root / "weights");
    fs::create_directories(root / "cpu");
    float weight[16] = {0.5f};
    std::ofstream(root / "weights/w.bin", std::ios::binary)
        .write(reinterpret_cast<const char *>(weight), sizeof weight);
    fs::copy_file(EE_TOY_FUNCTION, root / "cpu/v3.so");
    json files = json::array();
    for (const char *name : {"weights/w.bin", "cpu/v3.so"}) {
      std::string bytes = fileBytes(root / name);
      files.push_back({{"path", name},
                       {"bytes", bytes.size()},
                       {"sha256", *ee::sha256Hex(bytes)}});
    }
    json m = {
        {"format", "ee-artifact"},
        {"format_version", 2},
        {"function_abi", EE_FUNCTION_ABI},
        {"producer", "test"},
        {"kind", "function"},
        {"function",
         {{"name", "toy"},
          {"symbol", "toy_function"},
          {"inputs",
           {{{"name", "x"}, {"dtype", "f32"}, {"shape", {"n"}}},
            {{"name", "count"}, {"dtype", "i64"}, {"shape", json::array()}},
            {{"name", "same"}, {"dtype", "bool"}, {"shape", {"n", 2, -1}}}}},
          {"outputs",
           {{{"name", "y"}, {"dtype", "f32"}, {"shape", {"n"}}},
            {{"name", "z"}, {"dtype", "f32"}, {"shape", {-1}}}}}}},
        {"weights",
         {{{"name", "w"},
           {"file", "weights/w.bin"},
           {"offset", 0},
           {"bytes", 64},
           {"format", "plain"},
           {"dtype", "f32"},
           {"shape", {16}}}}},
        {"cpu",
         {{{"level", "x86-64-v3"},
           {"file", "cpu/v3.so"},
           {"sha256", files[1]["sha256"]},
           {"profile", "toy"}}}},
        {"files", files}};
    change(m);
    std::ofstream(root / "manifest.json") << m.dump();
  }

  /// The loaded artifact, or why there is none.
  ee::Expected<ee::Artifact>
  load(ee::DeviceKind device = ee::DeviceKind::Cpu) const {
    auto artifact = ee::Artifact::open(directory.path().string());
    if (!artifact)
      return artifact.takeFailure();
    ee::ArtifactOptions options;
    options.features = ee::CpuFeatures{true, true};
    options.device = device;
    if (auto loaded = artifact->load(options); !loaded)
      return loaded.takeFailure();
    return artifact;
  }

  toy::TempDir directory;
};

struct Inputs {
  std::vector<float> x = {1, 2, 3};
  int64_t count = 2;
  std::vector<uint8_t> same = std::vector<uint8_t>(6, 1);

  std::vector<ee::TensorView> views() const {
    return {{x.data(), "f32", {3}},
            {&count, "i64", {}},
            {same.data(), "bool", {3, 2, 1}}};
  }
};

TEST(FunctionTest, Runs) {
  FunctionModel model;
  auto artifact = model.load();
  ASSERT_TRUE(artifact) << artifact.error();
  Inputs inputs;
  auto results = ee::runFunction(*artifact, inputs.views());
  ASSERT_TRUE(results) << results.error();
  ASSERT_EQ(results->size(), 2u);
  const ee::TensorResult &y = (*results)[0];
  EXPECT_EQ(y.dtype, "f32");
  EXPECT_EQ(y.shape, std::vector<int64_t>{3});
  EXPECT_EQ(y.bytes(), 12);
  auto values = reinterpret_cast<const float *>(y.data.get());
  EXPECT_EQ(std::vector<float>(values, values + 3),
            (std::vector<float>{1.5, 2.5, 3.5}));
  EXPECT_EQ((*results)[1].shape, std::vector<int64_t>{2});
}

TEST(FunctionTest, RunsOnTheCpuOnly) {
  FunctionModel model;
  using ee::DeviceKind;
  for (DeviceKind kind :
       {DeviceKind::Guarded, DeviceKind::Sim, DeviceKind::Cuda}) {
    auto artifact = model.load(kind);
    ASSERT_FALSE(artifact);
    EXPECT_NE(artifact.error().find("is a function"), std::string::npos);
    EXPECT_NE(artifact.error().find(std::string("--device=") +
                                    ee::deviceKindName(kind)),
              std::string::npos);
  }
  FunctionModel withGpu([](json &m) { m["gpu"] = json::object(); });
  auto artifact = withGpu.load();
  ASSERT_FALSE(artifact);
  EXPECT_NE(artifact.error().find("gpu is not accepted"), std::string::npos);
}

TEST(FunctionTest, Errors) {
  FunctionModel model;
  auto artifact = model.load();
  ASSERT_TRUE(artifact) << artifact.error();
  auto error = [&](const std::function<void(Inputs &)> &change,
                   uint64_t limit = 0) {
    Inputs inputs;
    change(inputs);
    auto results = ee::runFunction(*artifact, inputs.views(), {limit});
    return results ? std::string() : results.error();
  };
  EXPECT_EQ(error([](Inputs &i) { i.count = 7; }), "seven is refused");
  EXPECT_NE(error([](Inputs &i) { i.count = -1; }).find("dimensions -1"),
            std::string::npos);
  EXPECT_NE(
      error([](Inputs &i) { i.count = int64_t(1) << 62; }).find("too large"),
      std::string::npos);
  EXPECT_NE(error([](Inputs &i) { i.count = 1000; }, 2048).find("2048 bytes"),
            std::string::npos);
  EXPECT_NE(error([](Inputs &i) { i.count = 9; }).find("output \"z\""),
            std::string::npos);
  EXPECT_NE(error([](Inputs &i) { i.same[3] = 2; }).find("neither 0 nor 1"),
            std::string::npos);
}

TEST(FunctionTest, InputsAreChecked) {
  FunctionModel model;
  auto artifact = model.load();
  ASSERT_TRUE(artifact) << artifact.error();
  Inputs inputs;
  auto error =
      [&](const std::function<void(std::vector<ee::TensorView> &)> &change) {
        std::vector<ee::TensorView> views = inputs.views();
        change(views);
        auto checked = ee::checkInputs(artifact->manifest(), views);
        return checked ? std::string() : checked.error();
      };
  using Views = std::vector<ee::TensorView>;
  EXPECT_EQ(error([](Views &) {}), "");
  EXPECT_NE(error([](Views &v) { v.pop_back(); }).find("3 inputs, 2"),
            std::string::npos);
  EXPECT_NE(error([](Views &v) { v[0].dtype = "f64"; }).find("accepted is f32"),
            std::string::npos);
  EXPECT_NE(error([](Views &v) { v[0].shape = {3, 1}; }).find("[n]"),
            std::string::npos);
  EXPECT_NE(error([](Views &v) { v[0].shape = {-3}; }).find("[-3]"),
            std::string::npos);
  EXPECT_NE(error([](Views &v) { v[2].shape = {3, 1, 1}; }).find("[n, 2, ?]"),
            std::string::npos);
  EXPECT_NE(
      error([](Views &v) { v[2].shape = {2, 2, 1}; }).find("input \"x\" has 3"),
      std::string::npos);
}

TEST(FunctionTest, BadManifests) {
  struct Case {
    const char *names; // what the error must mention
    std::function<void(json &)> change;
  } cases[] = {
      {"function_abi", [](json &m) { m.erase("function_abi"); }},
      {"function_abi",
       [](json &m) { m["function_abi"] = EE_FUNCTION_ABI + 1; }},
      {"stage_abi", [](json &m) { m["kind"] = "decoder"; }},
      {"function is missing", [](json &m) { m.erase("function"); }},
      {"function.name", [](json &m) { m["function"].erase("name"); }},
      {"function.symbol", [](json &m) { m["function"]["symbol"] = ""; }},
      {"no_such", [](json &m) { m["function"]["symbol"] = "no_such"; }},
      {"function.inputs", [](json &m) { m["function"]["inputs"] = 3; }},
      {"function.inputs[1].name",
       [](json &m) { m["function"]["inputs"][1]["name"] = "x"; }},
      {"function.inputs[0].name",
       [](json &m) { m["function"]["inputs"][0]["name"] = ""; }},
      {"function.inputs[0].dtype",
       [](json &m) { m["function"]["inputs"][0]["dtype"] = "f31"; }},
      {"function.inputs[2].shape[1]",
       [](json &m) { m["function"]["inputs"][2]["shape"][1] = -2; }},
      {"function.inputs[2].shape[0]",
       [](json &m) { m["function"]["inputs"][2]["shape"][0] = ""; }},
      {"function.inputs[2].shape[1]",
       [](json &m) { m["function"]["inputs"][2]["shape"][1] = 1.5; }},
      {"function.inputs[2].shape",
       [](json &m) {
         m["function"]["inputs"][2]["shape"] = std::vector<int>(33, 1);
       }},
      {"function.outputs",
       [](json &m) { m["function"]["outputs"] = json::array(); }},
      {"profile", [](json &m) { m["cpu"][0]["profile"] = "other"; }},
  };
  for (const Case &c : cases) {
    FunctionModel model(c.change);
    auto artifact = model.load();
    ASSERT_FALSE(artifact) << c.names;
    EXPECT_NE(artifact.error().find(c.names), std::string::npos)
        << artifact.error();
    EXPECT_EQ(artifact.error().find('\n'), std::string::npos);
  }
}

TEST(FunctionTest, MemoryCounts) {
  ee::FunctionMemory memory(1 << 20);
  ee_memory *calls = memory.handle();
  int64_t dims[2] = {3, 5};
  void *a = calls->allocate(calls, dims, 2, 4);
  ASSERT_TRUE(a);
  EXPECT_EQ(uintptr_t(a) % 64, 0u);
  EXPECT_EQ(memory.sizeOf(a), 64u);
  int64_t none[1] = {0};
  void *empty = calls->allocate(calls, none, 1, 8);
  ASSERT_TRUE(empty);
  EXPECT_NE(a, empty);
  int64_t large[2] = {1 << 10, 1 << 10};
  EXPECT_FALSE(calls->allocate(calls, large, 2, 1));
  EXPECT_NE(memory.error().find("1048576"), std::string::npos);
  calls->release(calls, empty);
  calls->release(calls, a);
  // All of it is free again.
  int64_t all[1] = {1 << 20};
  EXPECT_TRUE(calls->allocate(calls, all, 1, 1));
  int64_t overflow[3] = {int64_t(1) << 40, int64_t(1) << 40, 2};
  EXPECT_FALSE(calls->allocate(calls, overflow, 3, 8));
  // A block that is none of ours is left alone.
  int on = 0;
  calls->release(calls, &on);
  EXPECT_FALSE(memory.take(&on));
  EXPECT_EQ(memory.peak(), uint64_t(1) << 20);
}

} // namespace

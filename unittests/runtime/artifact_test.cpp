// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading artifacts, and refusing bad ones: one line that names the field.
#include "toy_model.h"

#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <unistd.h>

namespace {
namespace fs = std::filesystem;
using nlohmann::json;

/// Opens and loads; the error text, or "" where it loaded.
std::string load(const fs::path &path, ee::ArtifactOptions options = {}) {
  if (!options.features)
    options.features = ee::CpuFeatures{true, true};
  auto artifact = ee::Artifact::open(path.string());
  if (!artifact)
    return artifact.error();
  auto loaded = artifact->load(options);
  return loaded ? "" : loaded.error();
}

std::string loadChanged(const std::function<void(json &)> &change) {
  toy::TempDir directory;
  json m = toy::manifest("exact");
  change(m);
  toy::write(directory.path(), m);
  return load(directory.path());
}

TEST(ArtifactTest, LoadsAndMaps) {
  toy::Model model("exact");
  const ee::Artifact &a = model.artifact;
  EXPECT_EQ(a.stages().size(), 7u);
  EXPECT_EQ(a.code().level, "x86-64-v3");
  ASSERT_EQ(a.weights().size(), 1u);
  EXPECT_EQ(uintptr_t(a.weights()[0]) % 64, 0u);
  EXPECT_EQ(*static_cast<const char *>(a.weights()[0]), 'w');
  EXPECT_EQ(a.manifest().model.eos, std::vector<int32_t>{3});
  EXPECT_EQ(a.manifest().exits[1].name, "late");
  for (size_t i = 0; i < a.manifest().files.size(); ++i)
    EXPECT_TRUE(a.verifyFile(i));
}

TEST(ArtifactTest, BadManifests) {
  auto node = [](json &m, int i) -> json & { return m["program"][size_t(i)]; };
  struct Case {
    const char *names; // what the error must mention
    std::function<void(json &)> change;
  } cases[] = {
      {"format", [](json &m) { m["format"] = "zip"; }},
      {"format", [](json &m) { m.erase("format"); }},
      {"format_version is 1, this runtime reads 2",
       [](json &m) { m["format_version"] = 1; }},
      {"format_version", [](json &m) { m["format_version"] = 3; }},
      {"format_version", [](json &m) { m["format_version"] = "1"; }},
      {"stage_abi is 1, this runtime provides 2",
       [](json &m) { m["stage_abi"] = 1; }},
      {"stage_abi", [](json &m) { m["stage_abi"] = EE_STAGE_ABI + 1; }},
      {"kind", [](json &m) { m["kind"] = "encoder"; }},
      {"producer", [](json &m) { m["producer"] = 3; }},
      {"model.vocab", [](json &m) { m["model"]["vocab"] = 0; }},
      {"model.vocab", [](json &m) { m["model"]["vocab"] = 1e30; }},
      {"model.vocab", [](json &m) { m["model"]["vocab"] = UINT64_MAX; }},
      {"model.layers", [](json &m) { m["model"]["layers"] = -1; }},
      {"model.max_position", [](json &m) { m["model"].erase("max_position"); }},
      {"model.eos[0]", [](json &m) { m["model"]["eos"] = {TOY_VOCAB}; }},
      {"model.inputs[0].role",
       [](json &m) { m["model"]["inputs"][0]["role"] = "image"; }},
      {"model", [](json &m) { m["model"] = 3; }},
      {"formats.linear", [](json &m) { m["formats"]["linear"] = "q3"; }},
      {"files", [](json &m) { m["files"] = json::object(); }},
      {"files[2].path", [](json &m) { m["files"].push_back(m["files"][0]); }},
      {"files[0].sha256", [](json &m) { m["files"][0]["sha256"] = "00"; }},
      {"files[0].bytes", [](json &m) { m["files"][0]["bytes"] = -1; }},
      {"weights/w.bin", [](json &m) { m["files"][0]["bytes"] = 192; }},
      {"weights[0].file", [](json &m) { m["weights"][0]["file"] = "x"; }},
      {"weights[0].offset", [](json &m) { m["weights"][0]["offset"] = 32; }},
      {"weights[0].offset", [](json &m) { m["weights"][0]["offset"] = -64; }},
      {"weights[0].bytes", [](json &m) { m["weights"][0]["bytes"] = 65; }},
      {"weights[0].bytes",
       [](json &m) { m["weights"][0]["bytes"] = INT64_MAX; }},
      {"weights[0].format",
       [](json &m) { m["weights"][0]["format"] = "banana"; }},
      {"weights[0].dtype", [](json &m) { m["weights"][0].erase("dtype"); }},
      {"weights[0].shape[0]", [](json &m) { m["weights"][0]["shape"] = {-1}; }},
      {"rows.row_bytes", [](json &m) { m["rows"]["row_bytes"] = 100; }},
      {"rows.row_bytes", [](json &m) { m["rows"]["row_bytes"] = 0; }},
      {"rows.columns[1].width",
       [](json &m) { m["rows"]["columns"][1]["width"] = 17; }},
      {"rows.columns[1].name",
       [](json &m) { m["rows"]["columns"][1]["name"] = "state"; }},
      {"rows.columns[0].dtype",
       [](json &m) { m["rows"]["columns"][0]["dtype"] = "f31"; }},
      {"kv.page_positions", [](json &m) { m["kv"]["page_positions"] = 0; }},
      {"kv.levels[0].page_bytes",
       [](json &m) { m["kv"]["levels"][0]["page_bytes"] = 192; }},
      {"kv.levels[1].fill",
       [](json &m) { m["kv"]["levels"][1]["fill"] = "guess"; }},
      {"exits[1].index", [](json &m) { m["exits"][1]["index"] = 0; }},
      {"exits[1].name", [](json &m) { m["exits"][1]["name"] = "early"; }},
      {"exits[0].depth", [](json &m) { m["exits"][0]["depth"] = 7; }},
      {"exits[0].threshold",
       [](json &m) { m["exits"][0]["threshold"] = "high"; }},
      {"exits",
       [](json &m) {
         while (m["exits"].size() <= EE_MAX_EXITS)
           m["exits"].push_back(m["exits"][0]);
       }},
      {"skip", [](json &m) { m["exits"][0]["fill"] = "skip"; }},
      {"stages[0].symbol", [](json &m) { m["stages"][0]["symbol"] = ""; }},
      {"toy_missing",
       [](json &m) { m["stages"][0]["symbol"] = "toy_missing"; }},
      {"stages[0].arena.per_row",
       [](json &m) { m["stages"][0]["arena"]["per_row"] = 63; }},
      {"stages[0].arena.base",
       [](json &m) { m["stages"][0]["arena"]["base"] = INT64_MAX - 63; }},
      {"stages[0].level", [](json &m) { m["stages"][0]["level"] = 3; }},
      {"stages[3].outputs.logits.width",
       [](json &m) { m["stages"][3]["outputs"]["logits"]["width"] = 49; }},
      {"program[1].stage", [&](json &m) { node(m, 1)["stage"] = 7; }},
      {"stages[3].max_rows", [](json &m) { m["stages"][3]["max_rows"] = 0; }},
      {"stages[3].max_rows",
       [](json &m) { m["stages"][3]["max_rows"] = EE_MAX_LAUNCH_ROWS + 1; }},
      {"program[1].next", [&](json &m) { node(m, 1)["next"] = 11; }},
      {"program[1].next", [&](json &m) { node(m, 1).erase("next"); }},
      {"program[2].kind", [&](json &m) { node(m, 2)["kind"] = "jump"; }},
      {"program[2].kind", [&](json &m) { node(m, 2)["kind"] = "decide"; }},
      {"program[2].site", [&](json &m) { node(m, 2)["site"] = 2; }},
      {"program[2].yes", [&](json &m) { node(m, 2).erase("yes"); }},
      {"program[2].no", [&](json &m) { node(m, 2).erase("no"); }},
      {"program[2].owes", [&](json &m) { node(m, 2)["owes"] = -1; }},
      {"program[7].stage", [&](json &m) { node(m, 7)["stage"] = "head"; }},
      {"program[6].flags[0]",
       [&](json &m) { node(m, 6)["flags"] = {"waits"}; }},
      {"program[6].flags",
       [&](json &m) { node(m, 6)["flags"] = json::array(); }},
      {"cycle", [&](json &m) { node(m, 6)["yes"] = 6; }},
      {"cycle", [&](json &m) { node(m, 4)["no"] = 4; }},
      {"has node 7 (run) that cannot be reached from embed",
       [&](json &m) { node(m, 6)["yes"] = 8; }},
      {"embed", [&](json &m) { node(m, 5)["next"] = 0; }},
      {"embed", [&](json &m) { node(m, 0)["kind"] = "end"; }},
      {"embed", [&](json &m) { node(m, 8)["next"] = 3; }},
      {"embed",
       [&](json &m) {
         m["program"].push_back({{"kind", "embed"}, {"next", 1}});
       }},
      {"emit", [&](json &m) { node(m, 8) = {{"kind", "end"}}; }},
      {"program", [](json &m) { m["program"] = "loop"; }},
      {"cpu", [](json &m) { m["cpu"] = json::array(); }},
      {"cpu[0].level", [](json &m) { m["cpu"][0]["level"] = "sse2"; }},
      {"cpu[0].sha256",
       [](json &m) { m["cpu"][0]["sha256"] = std::string(64, '0'); }},
      {"cpu/v3.so",
       [](json &m) {
         m["files"][1]["sha256"] = std::string(64, '0');
         m["cpu"][0]["sha256"] = std::string(64, '0');
       }},
      {"cpu/v3.so", [](json &m) { m["files"][1]["bytes"] = 77; }},
      {"profile", [](json &m) { m["cpu"][0]["profile"] = "other"; }},
      {"tokenizer", [](json &m) { m["tokenizer"] = "tokenizer.json"; }},
      {"../escape",
       [](json &m) {
         m["files"][0]["path"] = "../escape";
         m["files"][0]["sha256"] = std::string(64, '0');
         m["weights"][0]["file"] = "../escape";
       }},
      {"/etc/passwd",
       [](json &m) {
         m["files"][0]["path"] = "/etc/passwd";
         m["files"][0]["sha256"] = std::string(64, '0');
         m["weights"][0]["file"] = "/etc/passwd";
       }},
      {"cpu/v3.so",
       [](json &m) { // not a shared object
         m["cpu"][0]["file"] = "weights/w.bin";
         m["cpu"][0]["sha256"] = m["files"][0]["sha256"] = "auto";
         m["weights"] = json::array();
         std::swap(m["files"][0]["path"], m["files"][1]["path"]);
         std::swap(m["files"][0]["bytes"], m["files"][1]["bytes"]);
         m["cpu"][0]["file"] = "cpu/v3.so";
         m["files"][0]["bytes"] = 1;
       }},
  };
  EXPECT_EQ(loadChanged([](json &) {}), "");
  int index = 0;
  for (const Case &bad : cases) {
    std::string error = loadChanged(bad.change);
    EXPECT_NE(error, "") << "case " << index;
    EXPECT_NE(error.find(bad.names), std::string::npos)
        << "case " << index << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    ++index;
  }
}

TEST(ArtifactTest, BrokenFiles) {
  toy::TempDir directory;
  EXPECT_NE(load(directory.path() / "none"), "");
  EXPECT_NE(load(directory.path()), "");
  toy::write(directory.path(), toy::manifest("exact"));
  ASSERT_EQ(load(directory.path()), "");
  // A link in place of a file of the artifact.
  fs::rename(directory.path() / "weights/w.bin", directory.path() / "w");
  fs::create_symlink("../w", directory.path() / "weights/w.bin");
  EXPECT_NE(load(directory.path()), "");
  fs::remove(directory.path() / "weights/w.bin");
  EXPECT_NE(load(directory.path()), "");
  fs::rename(directory.path() / "w", directory.path() / "weights/w.bin");
  ASSERT_EQ(load(directory.path()), "");
  {
    std::ofstream(directory.path() / "cpu/v3.so", std::ios::app) << "x";
    EXPECT_NE(load(directory.path()), "");
  }
  std::ofstream(directory.path() / "manifest.json") << "{\"format\": ";
  EXPECT_NE(load(directory.path()), "");
  std::ofstream(directory.path() / "manifest.json") << "[]";
  EXPECT_NE(load(directory.path()), "");
}

TEST(ArtifactTest, CpuLevels) {
  toy::TempDir directory;
  json m = toy::manifest("exact");
  m["cpu"].push_back(m["cpu"][0]);
  m["cpu"][1]["level"] = "avx512";
  toy::write(directory.path(), m);
  auto chosen = [&](ee::CpuFeatures features, const char *level) {
    ee::ArtifactOptions options;
    options.features = features;
    options.cpuLevel = level;
    auto artifact = ee::Artifact::open(directory.path().string());
    EXPECT_TRUE(artifact);
    auto ok = artifact->load(options);
    return ok ? artifact->code().level : ok.error();
  };
  EXPECT_EQ(chosen({true, true}, ""), "avx512");
  EXPECT_EQ(chosen({true, false}, ""), "x86-64-v3");
  EXPECT_EQ(chosen({true, true}, "x86-64-v3"), "x86-64-v3");
  EXPECT_NE(chosen({true, false}, "avx512").find("cannot run"),
            std::string::npos);
  EXPECT_NE(chosen({true, true}, "sse2").find("accepted"), std::string::npos);
  EXPECT_NE(chosen({false, false}, "").find("below x86-64-v3"),
            std::string::npos);
  // Levels out of order.
  std::swap(m["cpu"][0], m["cpu"][1]);
  toy::write(directory.path(), m);
  EXPECT_NE(load(directory.path()).find("cpu[1].level"), std::string::npos);
}

TEST(ArtifactTest, AFolderThatMayNotBeReadIsNotCalledNoArtifact) {
  toy::TempDir directory;
  fs::permissions(directory.path(), fs::perms(0755));
  EXPECT_NE(load(directory.path()).find("is not an artifact"),
            std::string::npos);
  toy::write(directory.path(), toy::manifest("exact"));
  fs::permissions(directory.path() / "manifest.json", fs::perms(0));
  // Root reads everything.
  uid_t user = geteuid();
  ASSERT_TRUE(user != 0 || seteuid(65534) == 0);
  std::string error = load(directory.path());
  ASSERT_EQ(seteuid(user), 0);
  EXPECT_NE(error.find("manifest.json\": Permission denied"), std::string::npos)
      << error;
  EXPECT_EQ(error.find("not an artifact"), std::string::npos) << error;
}

TEST(ArtifactTest, ABadSampleIsAnError) {
  toy::TempDir directory;
  json m = toy::manifest("exact");
  m["stages"][3]["symbol"] = "toy_bad_sample";
  toy::write(directory.path(), m);
  auto artifact = ee::Artifact::open(directory.path().string());
  ASSERT_TRUE(artifact);
  ASSERT_TRUE(artifact->load());
  auto session = ee::Session::create(*artifact, {});
  ASSERT_TRUE(session);
  ee::Request request;
  request.prompt = {1};
  request.maxNewTokens = 1;
  ASSERT_TRUE((*session)->submit(request));
  auto stepped = (*session)->step();
  ASSERT_FALSE(stepped);
  EXPECT_NE(stepped.error().find("vocabulary"), std::string::npos);
}

TEST(ArtifactTest, ARowThatEndsBeforeItsTokenIsAnError) {
  toy::TempDir directory;
  json m = toy::manifest("exact");
  std::swap(m["program"][6]["yes"], m["program"][6]["no"]);
  toy::write(directory.path(), m);
  auto artifact = ee::Artifact::open(directory.path().string());
  ASSERT_TRUE(artifact);
  ASSERT_TRUE(artifact->load());
  auto session = ee::Session::create(*artifact, {});
  ASSERT_TRUE(session);
  ee::Request request;
  request.prompt = {1};
  request.maxNewTokens = 1;
  ASSERT_TRUE((*session)->submit(request));
  auto stepped = (*session)->step();
  ASSERT_FALSE(stepped);
  EXPECT_NE(stepped.error().find("ends a row before its token"),
            std::string::npos);
}

TEST(CpuFeaturesTest, LevelsIncludeEachOther) {
  ee::CpuFeatures here = ee::CpuFeatures::detect();
  EXPECT_TRUE(!here.avx512 || here.v3);
  EXPECT_EQ(here.supports("x86-64-v3"), here.v3);
  EXPECT_FALSE(here.supports("x86-64-v4"));
}

} // namespace

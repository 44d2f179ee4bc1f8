// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes the toy artifact and computes its dense reference.
#include "toy_model.h"

#include "ee/sha256.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <unistd.h>

namespace toy {
namespace fs = std::filesystem;
using nlohmann::json;

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "ee-test-XXXXXX").string();
  if (!mkdtemp(name.data()))
    throw std::runtime_error("cannot make a temporary directory");
  directory = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(directory, ignored);
}

static json stage(const char *name, const char *symbol, int depth, int level) {
  json s = {{"name", name},
            {"symbol", symbol},
            {"arena", {{"per_row", 64}, {"base", 0}}},
            {"worker_scratch", 64}};
  if (depth)
    s["depth"] = depth;
  if (level >= 0)
    s["level"] = level;
  return s;
}

json manifest(const std::string &variant) {
  // "…-early-head": the first exit samples before its decision.
  bool earlyHead = variant.find("-early-head") != std::string::npos;
  std::string fill = variant.substr(0, variant.find('-'));
  json m;
  m["format"] = "ee-artifact";
  m["format_version"] = 2;
  m["stage_abi"] = EE_STAGE_ABI;
  m["producer"] = "test";
  m["kind"] = "decoder";
  m["model"] = {{"name", "toy"},
                {"vocab", TOY_VOCAB},
                {"hidden", TOY_WORDS},
                {"layers", TOY_LAYERS},
                {"max_position", 256},
                {"eos", {3}},
                {"inputs", {{{"name", "ids"}, {"role", "input_ids"}}}}};
  m["formats"] = {{"linear", "f32"}, {"head", "f32"}};
  m["files"] = {{{"path", "weights/w.bin"}, {"bytes", 128}, {"sha256", "auto"}},
                {{"path", "cpu/v3.so"}, {"bytes", "auto"}, {"sha256", "auto"}}};
  m["weights"] = {{{"name", "w"},
                   {"file", "weights/w.bin"},
                   {"offset", 64},
                   {"bytes", 64},
                   {"format", "plain"},
                   {"dtype", "f32"},
                   {"shape", {16}}}};
  m["rows"] = {
      {"row_bytes", 128},
      {"columns",
       {{{"name", "state"}, {"dtype", "u32"}, {"width", 8}, {"offset", 0}},
        {{"name", "out"}, {"dtype", "u32"}, {"width", 8}, {"offset", 64}}}}};
  json levels = json::array();
  for (int i = 0; i < 3; ++i)
    levels.push_back({{"name", "level" + std::to_string(i)},
                      {"layers", 2},
                      {"heads", 1},
                      {"head_dim", 4},
                      {"dtype", "f32"},
                      {"slot", "identity"},
                      {"fill", fill},
                      {"page_bytes", 256},
                      {"bytes_per_position", 64}});
  m["kv"] = {{"page_positions", TOY_PAGE}, {"levels", levels}};
  for (int i = 0; i < 2; ++i)
    m["exits"].push_back({{"index", i},
                          {"name", i ? "late" : "early"},
                          {"depth", 2 * (i + 1)},
                          {"criterion", "probe"},
                          {"threshold", 2.0},
                          {"fill", fill}});
  json head = stage("head", "toy_head", 0, -1);
  head["arena"]["per_row"] = 256;
  head["max_rows"] = 32;
  head["outputs"] = {
      {"logits", {{"per_row_offset", 64}, {"width", TOY_VOCAB}}}};
  m["stages"] = {stage("s0", "toy_s0", 2, 0),
                 stage("s1", "toy_s1", 4, 1),
                 stage("s2", "toy_s2", 6, 2),
                 head,
                 stage("fill1", "toy_fill1", 0, 1),
                 stage("fill2", "toy_fill2", 0, 2),
                 stage("adapt", "toy_adapt_stage", 0, -1)};
  bool propagate = fill == "propagate";
  m["program"] = {
      {{"kind", "embed"}, {"next", 1}},
      {{"kind", "run"}, {"stage", 0}, {"next", 2}},
      {{"kind", "branch"},
       {"site", 0},
       {"yes", 10},
       {"no", 3},
       {"owes", propagate ? 11 : 3}},
      {{"kind", "run"}, {"stage", 1}, {"next", 4}},
      {{"kind", "branch"},
       {"site", 1},
       {"yes", 6},
       {"no", 5},
       {"owes", propagate ? 12 : 5}},
      {{"kind", "run"}, {"stage", 2}, {"next", 6}},
      {{"kind", "filter"}, {"flags", {"emits"}}, {"yes", 7}, {"no", 9}},
      {{"kind", "run"}, {"stage", 3}, {"next", 8}},
      {{"kind", "emit"}, {"next", 0}},
      {{"kind", "end"}},
      {{"kind", "run"}, {"stage", 6}, {"next", 6}}};
  if (propagate) {
    m["program"].push_back({{"kind", "run"}, {"stage", 4}, {"next", 12}});
    m["program"].push_back({{"kind", "run"}, {"stage", 5}, {"next", 9}});
  }
  if (earlyHead) {
    m["stages"][0] = head;
    m["stages"][0].update({{"name", "s0"},
                           {"symbol", "toy_s0_early"},
                           {"depth", 2},
                           {"level", 0}});
    m["stages"][0].erase("max_rows");
    m["stages"].push_back(stage("hand_on", "toy_hand_on", 0, -1));
    m["stages"][7]["max_rows"] = 32;
    m["program"][10] = {{"kind", "run"}, {"stage", 7}, {"next", 8}};
  }
  m["cpu"] = {{{"level", "x86-64-v3"},
               {"file", "cpu/v3.so"},
               {"sha256", "auto"},
               {"profile", "toy"}}};
  return m;
}

void write(const fs::path &directory, json m) {
  fs::create_directories(directory / "weights");
  fs::create_directories(directory / "cpu");
  std::ofstream(directory / "weights/w.bin", std::ios::binary)
      << std::string(128, 'w');
  // A new file, never the old one rewritten: a library that was loaded from it
  // may still be mapped.
  fs::remove(directory / "cpu/v3.so");
  fs::copy_file(EE_TOY_LIBRARY, directory / "cpu/v3.so");
  auto contents = [&](const std::string &path) {
    std::stringstream text;
    text << std::ifstream(directory / path, std::ios::binary).rdbuf();
    return text.str();
  };
  if (m.contains("files") && m["files"].is_array())
    for (json &file : m["files"]) {
      if (!file.is_object() || !file.contains("path") ||
          !file["path"].is_string())
        continue;
      std::string text = contents(file["path"]);
      if (file.contains("bytes") && file["bytes"] == "auto")
        file["bytes"] = text.size();
      if (file.contains("sha256") && file["sha256"] == "auto")
        file["sha256"] = *ee::sha256Hex(text);
    }
  auto fillHash = [&](json &code, const std::string &path) {
    if (code.is_object() && code.contains("sha256") && code["sha256"] == "auto")
      code["sha256"] = *ee::sha256Hex(contents(path));
  };
  if (m.contains("cpu") && m["cpu"].is_array())
    for (json &code : m["cpu"])
      fillHash(code, "cpu/v3.so");
  if (m.contains("gpu"))
    for (json &code : m["gpu"]["code"]) {
      for (json &cubin : code["cubins"])
        fillHash(cubin, cubin["file"]);
      fillHash(code, code["ptx"]);
    }
  std::ofstream(directory / "manifest.json") << m.dump(1);
}

static ee::Artifact openToy(const fs::path &directory,
                            const std::string &fill) {
  write(directory, manifest(fill));
  auto artifact = ee::Artifact::open(directory.string());
  if (!artifact)
    throw std::runtime_error(artifact.error());
  ee::ArtifactOptions options;
  options.features = ee::CpuFeatures{true, true};
  if (auto ok = artifact->load(options); !ok)
    throw std::runtime_error(ok.error());
  return std::move(*artifact);
}

Model::Model(const std::string &fill, const TestDevice &device)
    : artifact(openToy(directory.path(), fill)), device(device) {}

ee::Expected<std::unique_ptr<ee::Session>>
Model::session(const ee::SessionOptions &options) const {
  // Sessions refuse absurd numbers of threads; a device would start them.
  int64_t threads = std::clamp<int64_t>(options.threads, 1, 8);
  return ee::Session::create(artifact, options, device.make(artifact, threads));
}

int32_t Model::errors() const {
  return *static_cast<int32_t *>(artifact.symbol("toy_errors"));
}

namespace {

struct Dense {
  std::vector<toy_state> kv[TOY_LAYERS];
  bool propagate;

  /// Runs one position; returns what goes to the head. `wants(exit, state)`
  /// decides.
  template <typename Wants>
  toy_state run(int32_t token, int32_t position, Wants wants, int32_t &exit) {
    toy_state state = toy_embed(token, position), out{};
    exit = -1;
    for (int32_t layer = 0; layer < TOY_LAYERS; ++layer) {
      kv[layer].push_back(toy_kv(state, layer));
      if (exit >= 0 && propagate)
        continue; // the state stays what it was at the exit
      toy_state sum = toy_attend_start();
      for (const toy_state &entry : kv[layer])
        sum = toy_attend(sum, entry);
      state = toy_layer(state, sum, layer);
      int32_t point = layer == 1 ? 0 : layer == 3 ? 1 : -1;
      if (exit < 0 && point >= 0 && wants(point, state)) {
        exit = point;
        out = point == 0 ? toy_adapt(state) : state;
      }
    }
    return exit < 0 ? state : out;
  }
};

uint64_t hashOf(toy_state out) {
  std::vector<float> logits;
  for (int32_t id = 0; id < TOY_VOCAB; ++id)
    logits.push_back(toy_logit(out, id));
  return ee::hashLogits(logits);
}

} // namespace

Expectation reference(const ee::Request &request, const ee_policy &policy,
                      const std::string &fill) {
  Expectation result;
  Dense model;
  model.propagate = fill.starts_with("propagate");
  std::vector<int32_t> tokens = request.prompt;
  size_t promptLength = request.prompt.size();
  for (size_t p = 0; p < tokens.size(); ++p) {
    bool enabled = p >= promptLength || (request.promptEnabled.empty()
                                             ? request.promptExits
                                             : request.promptEnabled[p] != 0);
    int32_t script = EE_SCRIPT_NONE;
    if (p < promptLength && p < request.promptScript.size())
      script = request.promptScript[p];
    if (p + 1 >= promptLength && p + 1 - promptLength < request.script.size())
      script = request.script[p + 1 - promptLength];
    auto wants = [&](int32_t exit, toy_state state) {
      int32_t depth = 2 * (exit + 1);
      if (script != EE_SCRIPT_NONE)
        return script == exit;
      return enabled && !policy.force_full &&
             (policy.criterion_mask >> exit & 1) && depth >= policy.min_depth &&
             (toy_score(state, exit) >= policy.threshold[exit] ||
              depth >= policy.max_depth);
    };
    int32_t exit;
    toy_state out = model.run(tokens[p], int32_t(p), wants, exit);
    int32_t depth = exit < 0 ? TOY_LAYERS : 2 * (exit + 1);
    if (p < promptLength) {
      result.promptHashes.push_back(hashOf(out));
      result.promptDepth.push_back(depth);
    }
    if (p + 1 != tokens.size() ||
        int64_t(result.ids.size()) == request.maxNewTokens)
      continue;
    int32_t best = 0;
    float bestValue = 0;
    for (int32_t id = 0; id < TOY_VOCAB; ++id) {
      float value = toy_logit(out, id) +
                    request.sampler.temperature *
                        toy_noise(request.sampler.seed, int32_t(p), id);
      if (id == 0 || value > bestValue) {
        best = id;
        bestValue = value;
      }
    }
    result.ids.push_back(best);
    result.depth.push_back(depth);
    result.exits.push_back(exit);
    result.hashes.push_back(hashOf(out));
    bool stop = std::find(request.eos.begin(), request.eos.end(), best) !=
                request.eos.end();
    if (!stop && int64_t(result.ids.size()) < request.maxNewTokens)
      tokens.push_back(best);
  }
  return result;
}

} // namespace toy

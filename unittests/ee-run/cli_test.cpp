// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// ee-run as a process: results equal the toy model's reference, and bad input
// is one line and exit code 1.
#include "../runtime/toy_model.h"
#include "generate.h"
#include "npy.h"

#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {
using nlohmann::json;

struct Output {
  int code = -1;
  std::string out, err;
};

std::string slurp(const std::filesystem::path &path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class CliTest : public testing::Test {
protected:
  CliTest() {
    toy::write(dir.path() / "toy.ee", toy::manifest("exact"));
    write("ids", "1 2 3\n[4, 5]\n\n7\n");
    for (const char *line : {"1 2 3", "4 5", "7"})
      requests.push_back(parseIds(line, ""));
  }
  void write(const char *name, const std::string &text) {
    std::ofstream(dir.path() / name, std::ios::binary) << text;
  }
  Output run(const std::string &arguments) {
    return runTo(arguments, ">out.txt");
  }
  /// With standard output elsewhere, as the shell says it.
  Output runTo(const std::string &arguments, const std::string &redirection) {
    std::string command = "cd " + dir.path().string() + " && " EE_RUN " " +
                          arguments + " " + redirection + " 2>err.txt";
    std::filesystem::remove(dir.path() / "out.txt");
    Output result;
    int status = std::system(command.c_str());
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    result.out = slurp(dir.path() / "out.txt");
    result.err = slurp(dir.path() / "err.txt");
    return result;
  }
  std::vector<json> lines(const std::string &text) {
    std::vector<json> result;
    for (const std::string &line : splitLines(text))
      result.push_back(json::parse(line));
    return result;
  }
  toy::TempDir dir;
  std::vector<std::vector<int32_t>> requests;
};

ee_policy seedPolicy() {
  ee_policy policy = {};
  policy.criterion_mask = 3;
  policy.max_depth = INT32_MAX;
  policy.threshold[0] = policy.threshold[1] = 2;
  return policy;
}

TEST_F(CliTest, GenerateEqualsTheReference) {
  struct {
    const char *flags;
    std::function<void(ee::Request &, ee_policy &)> change;
  } cases[] = {
      {"", [](auto &, auto &) {}},
      {"--force-full", [](auto &, auto &p) { p.force_full = 1; }},
      {"--threshold early=-3 --threshold 1=never",
       [](auto &, auto &p) {
         p.threshold[0] = -3;
         p.criterion_mask = 1;
       }},
      {"--min-depth 3", [](auto &, auto &p) { p.min_depth = 3; }},
      {"--max-depth 4", [](auto &, auto &p) { p.max_depth = 4; }},
      {"--temp 1.5 --seed 12345678901",
       [](auto &r, auto &) {
         r.sampler.temperature = 1.5f;
         r.sampler.seed = 12345678901;
       }},
      {"--eos none", [](auto &r, auto &) { r.eos.clear(); }},
      {"--eos 10,27", [](auto &r, auto &) { r.eos = {10, 27}; }},
      {"--batch 1 --chunk 1 -t 2", [](auto &, auto &) {}},
      {"--max-rows 2 --shuffle-pages 9 --debt-cap 1", [](auto &, auto &) {}},
      {"--preempt-every 2 --kv-pages 9", [](auto &, auto &) {}},
      {"--kv-hash", [](auto &, auto &) {}},
  };
  for (auto &[flags, change] : cases) {
    Output got = run("generate toy.ee --ids ids -n 20 --json --logit-hash " +
                     std::string(flags));
    ASSERT_EQ(got.code, 0) << flags << got.err;
    EXPECT_EQ(got.err, "");
    std::vector<json> objects = lines(got.out);
    ASSERT_EQ(objects.size(), requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      ee::Request request;
      request.prompt = requests[i];
      request.maxNewTokens = 20;
      request.eos = {3};
      ee_policy policy = seedPolicy();
      change(request, policy);
      toy::Expectation want = toy::reference(request, policy, "exact");
      const json &object = objects[i];
      EXPECT_EQ(object["prompt_ids"], json(requests[i]));
      EXPECT_EQ(object["ids"], json(want.ids)) << flags;
      EXPECT_EQ(object["exit_depth"], json(want.depth)) << flags;
      EXPECT_EQ(object["finish"], want.ids.size() < 20 ? "stop" : "length");
      ASSERT_EQ(object["logit_hash"].size(), want.hashes.size());
      for (size_t k = 0; k < want.hashes.size(); ++k)
        EXPECT_EQ(std::stoull(object["logit_hash"][k].get<std::string>(),
                              nullptr, 16),
                  want.hashes[k]);
      EXPECT_TRUE(object["timings"].is_object());
    }
  }
}

TEST_F(CliTest, ScriptsTracesAndPolicyFiles) {
  write("script", "0 1 -2 0\n-2 -2\n[1,1,1]\n");
  Output got = run("generate toy.ee --ids ids -n 6 --json --eos none --script "
                   "script --trace trace");
  ASSERT_EQ(got.code, 0) << got.err;
  std::vector<json> objects = lines(got.out);
  EXPECT_EQ(objects[0]["exit_depth"][0], 2);
  EXPECT_EQ(objects[0]["exit_depth"][1], 4);
  EXPECT_EQ(objects[0]["exit_depth"][2], 6);
  EXPECT_EQ(objects[2]["exit_depth"][2], 4);
  std::vector<json> trace = lines(slurp(dir.path() / "trace"));
  EXPECT_EQ(trace.size(), 18u);
  for (const json &line : trace)
    if (line["exit"] == "early") {
      EXPECT_TRUE(line["criteria"]["late"].is_null());
    }
  write("policy.toml", "force_full = true\n");
  got = run("generate toy.ee --ids ids -n 6 --json --policy policy.toml");
  ASSERT_EQ(got.code, 0) << got.err;
  for (const json &object : lines(got.out))
    for (const json &depth : object["exit_depth"])
      EXPECT_EQ(depth, 6);
  // Forced ids are what comes out.
  write("force", "9 8 7\n\n1\n");
  got =
      run("generate toy.ee --ids ids -n 3 --json --eos none --force-ids force");
  EXPECT_EQ(lines(got.out)[0]["ids"], json({9, 8, 7}));
}

TEST_F(CliTest, ExactKvHashesEqualFullDepth) {
  Output exits =
      run("generate toy.ee --ids ids -n 9 --json --eos none --kv-hash");
  ASSERT_EQ(exits.code, 0) << exits.err;
  std::string force;
  bool left = false;
  for (const json &object : lines(exits.out)) {
    for (const json &id : object["ids"])
      force += id.dump() + " ";
    force += "\n";
    left |= object["exit_depth"].dump().find('2') != std::string::npos;
  }
  EXPECT_TRUE(left);
  write("force", force);
  Output full =
      run("generate toy.ee --ids ids -n 9 --json --eos none --kv-hash "
          "--force-full --force-ids force");
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(lines(exits.out)[i]["kv_hash"], lines(full.out)[i]["kv_hash"]);
}

TEST_F(CliTest, RunComparesArrays) {
  NpyArray ids{"i8", {2, 5}, {}}, script{"i4", {2, 5}, {}};
  int64_t tokens[10] = {1, 2, 3, 4, 5, 9, 8, 7, 6, 5};
  int32_t exits[10] = {0, -2, 1, -2, 0, -1, -1, -1, -1, -1};
  ids.bytes.assign(reinterpret_cast<uint8_t *>(tokens),
                   reinterpret_cast<uint8_t *>(tokens + 10));
  script.bytes.assign(reinterpret_cast<uint8_t *>(exits),
                      reinterpret_cast<uint8_t *>(exits + 10));
  write("ids.npy", formatNpy(ids));
  write("script.npy", formatNpy(script));
  std::string base = "run toy.ee --input ids=@ids.npy --input "
                     "script=@script.npy ";
  Output got = run(base + "--output logits=l.npy --output exit_depth=d.npy");
  ASSERT_EQ(got.code, 0) << got.err;
  auto logits = parseNpy(slurp(dir.path() / "l.npy"), "l");
  auto depth = parseNpy(slurp(dir.path() / "d.npy"), "d");
  ASSERT_TRUE(logits && depth);
  EXPECT_EQ(logits->shape, (std::vector<int64_t>{2, 5, TOY_VOCAB}));
  for (int b = 0; b < 2; ++b) {
    ee::Request request;
    request.prompt.assign(tokens + 5 * b, tokens + 5 * b + 5);
    request.promptScript.assign(exits + 5 * b, exits + 5 * b + 5);
    request.promptExits = true;
    toy::Expectation want = toy::reference(request, seedPolicy(), "exact");
    for (int p = 0; p < 5; ++p) {
      EXPECT_EQ(npyNumber(*depth, b * 5 + p), want.promptDepth[size_t(p)]);
      std::vector<float> row(TOY_VOCAB);
      std::memcpy(row.data(),
                  logits->bytes.data() + (b * 5 + p) * TOY_VOCAB * 4,
                  TOY_VOCAB * 4);
      EXPECT_EQ(ee::hashLogits(row), want.promptHashes[size_t(p)]);
    }
  }
  EXPECT_EQ(
      run(base + "--expect logits=@l.npy --expect exit_depth=@d.npy").code, 0);
  reinterpret_cast<float *>(logits->bytes.data())[3] += 0.5f;
  write("l.npy", formatNpy(*logits));
  got = run(base + "--expect logits=@l.npy");
  EXPECT_EQ(got.code, 1);
  EXPECT_NE(got.out.find("1 of 370 off"), std::string::npos) << got.out;
  EXPECT_EQ(run(base + "--expect logits=@l.npy --atol 0.6").code, 0);
}

TEST_F(CliTest, EvalAgreesWithItself) {
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += std::to_string(i * 7 % TOY_VOCAB) + " ";
  write("text", text);
  Output got = run("eval toy.ee --ids text -c 50 --json");
  ASSERT_EQ(got.code, 0) << got.err;
  json with = json::parse(got.out);
  EXPECT_EQ(with["tokens"], 200);
  EXPECT_LT(with["mean_depth"], 6.0);
  EXPECT_LT(with["agreement"], 1.0);
  json full = json::parse(run("eval toy.ee --ids text -c 50 --json "
                              "--force-full")
                              .out);
  EXPECT_EQ(full["agreement"], 1.0);
  EXPECT_EQ(full["mean_depth"], 6.0);
  EXPECT_EQ(full["perplexity"], with["perplexity_full"]);
  // Windows are independent of how they are batched.
  json alone = json::parse(run("eval toy.ee --ids text -c 50 --json --batch 1 "
                               "--chunk 3")
                               .out);
  EXPECT_EQ(alone["agreement"], with["agreement"]);
  EXPECT_EQ(alone["mean_depth"], with["mean_depth"]);
}

TEST_F(CliTest, CompareFindsTheFirstDifference) {
  std::string flags = " --ids ids -n 20 --json --eos none --kv-hash";
  Output got = run("compare toy.ee toy.ee" + flags);
  ASSERT_EQ(got.code, 0) << got.err;
  json out = json::parse(got.out);
  EXPECT_EQ(out["equal"], true);
  EXPECT_EQ(out["tokens"], 60);
  EXPECT_TRUE(out["first"].is_null());
  // One artifact lets every token out at its first exit.
  json m = toy::manifest("exact");
  m["exits"][0]["threshold"] = -1e6;
  toy::write(dir.path() / "always.ee", m);
  got = run("compare toy.ee always.ee" + flags);
  ASSERT_EQ(got.code, 1) << got.err;
  out = json::parse(got.out);
  ee_policy always = seedPolicy();
  always.threshold[0] = -1e6;
  size_t prompt = 0, token = 0;
  bool found = false;
  int64_t depths = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    ee::Request request;
    request.prompt = requests[i];
    request.maxNewTokens = 20;
    toy::Expectation a = toy::reference(request, seedPolicy(), "exact");
    toy::Expectation b = toy::reference(request, always, "exact");
    for (size_t t = 0; t < 20; ++t) {
      depths += a.depth[t] != b.depth[t];
      if (found || (a.ids[t] == b.ids[t] && a.depth[t] == b.depth[t] &&
                    a.hashes[t] == b.hashes[t]))
        continue;
      found = true;
      prompt = i;
      token = t;
      EXPECT_EQ(out["first"]["a"]["id"], a.ids[t]);
      EXPECT_EQ(out["first"]["b"]["id"], b.ids[t]);
      EXPECT_EQ(out["first"]["b"]["depth"], b.depth[t]);
    }
  }
  ASSERT_TRUE(found);
  EXPECT_EQ(out["first"]["prompt"], prompt);
  EXPECT_EQ(out["first"]["token"], token);
  EXPECT_EQ(out["first"]["position"], requests[prompt].size() + token - 1);
  EXPECT_EQ(out["different"]["depths"], depths);
  got = run("compare toy.ee always.ee --ids ids -n 20");
  EXPECT_EQ(got.code, 1);
  EXPECT_NE(
      got.out.find("first difference: prompt " + std::to_string(prompt + 1)),
      std::string::npos);
  // A text that ends earlier is a difference of its own.
  m = toy::manifest("exact");
  m["model"]["eos"] = json::array();
  toy::write(dir.path() / "endless.ee", m);
  write("force", "3\n3\n3\n");
  got =
      run("compare toy.ee endless.ee --ids ids -n 4 --force-ids force --json");
  EXPECT_EQ(got.code, 1) << got.err;
  EXPECT_EQ(json::parse(got.out)["first"]["what"], json({"end"}));
}

TEST_F(CliTest, InspectVerifies) {
  Output got = run("inspect toy.ee --verify");
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_NE(got.out.find("early"), std::string::npos);
  // Same size, other bytes: only --verify sees it.
  std::ofstream(dir.path() / "toy.ee/weights/w.bin") << std::string(128, 'x');
  EXPECT_EQ(run("inspect toy.ee").code, 0);
  EXPECT_EQ(run("inspect toy.ee --verify").code, 1);
}

TEST_F(CliTest, BenchPrintsEveryCell) {
  for (const char *format : {"md", "csv", "json"}) {
    Output got = run(
        std::string("bench toy.ee -p 8 -n 4 -b 1,3 -t 1 -r 2 -o ") + format);
    ASSERT_EQ(got.code, 0) << got.err;
    if (std::string(format) == "json") {
      json out = json::parse(got.out);
      EXPECT_EQ(out["results"].size(), 6u); // pp, tg full, tg exit; two widths
      for (const json &cell : out["results"])
        EXPECT_EQ(cell["samples"].size(), 2u);
    } else {
      EXPECT_NE(got.out.find("tg4"), std::string::npos);
    }
  }
}

TEST_F(CliTest, OutputsGoWhereTheirNamesLead) {
  std::string generate = "generate toy.ee --ids ids -n 4 --json ";
  auto isLink = [&](const char *name) {
    return std::filesystem::is_symlink(dir.path() / name);
  };
  ASSERT_EQ(run(generate + "--trace plain").code, 0);
  std::string trace = slurp(dir.path() / "plain");
  EXPECT_EQ(lines(trace).size(), 12u);
  write("real", "old");
  std::filesystem::create_symlink("real", dir.path() / "link");
  ASSERT_EQ(run(generate + "--trace link").code, 0);
  EXPECT_TRUE(isLink("link"));
  EXPECT_EQ(slurp(dir.path() / "real"), trace);
  // Standard output goes on where it is, behind what it got already.
  std::filesystem::create_symlink("/proc/self/fd/1", dir.path() / "stdout");
  Output got = run(generate + "--trace stdout");
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_TRUE(isLink("stdout"));
  ASSERT_GT(got.out.size(), trace.size());
  EXPECT_EQ(got.out.substr(got.out.size() - trace.size()), trace);
  EXPECT_EQ(lines(got.out).size(), 15u);
  // A pipe takes what a file would, and stays a pipe.
  ASSERT_EQ(mkfifo((dir.path() / "pipe").c_str(), 0600), 0);
  std::string arrived;
  std::thread reader([&] { arrived = slurp(dir.path() / "pipe"); });
  got = run(generate + "--trace pipe");
  reader.join();
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(arrived, trace);
  EXPECT_TRUE(std::filesystem::is_fifo(dir.path() / "pipe"));
  // The same for arrays.
  NpyArray ids{"i8", {1, 3}, std::vector<uint8_t>(24)};
  write("ids.npy", formatNpy(ids));
  got = run("run toy.ee --input ids=@ids.npy --output logits=link --output "
            "exit_depth=depth");
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_TRUE(isLink("link"));
  EXPECT_TRUE(bool(parseNpy(slurp(dir.path() / "real"), "real")));
  EXPECT_EQ(run(generate + "--trace toy.ee").code, 1);
}

TEST_F(CliTest, OutputThatCannotBeWrittenIsAnError) {
  NpyArray ids{"i8", {1, 3}, std::vector<uint8_t>(24)};
  write("ids.npy", formatNpy(ids));
  std::vector<std::pair<std::string, std::string>> targets = {
      {">&-", "Bad file descriptor"}};
  std::string full = (dir.path() / "full").string();
  int fd = -1;
  if (mknod(full.c_str(), S_IFCHR | 0666, makedev(1, 7)) == 0 &&
      (fd = open(full.c_str(), O_WRONLY)) >= 0) {
    close(fd);
    targets.push_back({">full", "No space left on device"});
  }
  for (auto &[redirection, reason] : targets)
    for (const char *arguments :
         {"generate toy.ee --ids ids -n 4",
          "generate toy.ee --ids one -n 200 --eos none",
          "generate toy.ee --ids ids -n 4 --json",
          "generate toy.ee --ids ids -n 4 --json --trace trace",
          "run toy.ee --input ids=@ids.npy", "eval toy.ee --ids ids",
          "eval toy.ee --ids ids --json", "inspect toy.ee",
          "inspect toy.ee --verify",
          "bench toy.ee -p 8 -n 0 -b 1 -t 1 -r 1 -o json", "--help",
          "compare toy.ee toy.ee --ids ids -n 4", "generate --help",
          "--version"}) {
      write("one", "1 2 3\n");
      Output got = runTo(arguments, redirection);
      EXPECT_EQ(got.code, 1) << arguments << redirection;
      EXPECT_EQ(std::count(got.err.begin(), got.err.end(), '\n'), 1)
          << arguments << redirection << ": " << got.err;
      EXPECT_NE(got.err.find("standard output: " + reason), std::string::npos)
          << arguments << redirection << ": " << got.err;
    }
}

TEST_F(CliTest, BadInputIsOneLineAndExitCodeOne) {
  write("bad-ids", "1 x\n");
  write("big-ids", "99\n");
  write("empty", "");
  write("one-script", "0\n");
  write("bad-policy", "force = 1\n");
  write("not.npy", "nothing");
  const char *cases[] = {"",
                         "nonsense",
                         "generate",
                         "generate none.ee --ids ids",
                         "generate toy.ee",
                         "generate toy.ee -p hello",
                         "generate toy.ee -p hello --ids ids",
                         "generate toy.ee --prompts ids",
                         "generate toy.ee --ids none",
                         "generate toy.ee --ids bad-ids",
                         "generate toy.ee --ids big-ids",
                         "generate toy.ee --ids empty",
                         "generate toy.ee --ids toy.ee",
                         "generate toy.ee --ids ids -n 0",
                         "generate toy.ee --ids ids -n -5",
                         "generate toy.ee --ids ids -n 1000",
                         "generate toy.ee --ids ids -n 99999999999999999999",
                         "generate toy.ee --ids ids -n x",
                         "generate toy.ee --ids ids --temp -1",
                         "generate toy.ee --ids ids --temp nan",
                         "generate toy.ee --ids ids --top-p 0",
                         "generate toy.ee --ids ids --top-p 1.5",
                         "generate toy.ee --ids ids --top-k -1",
                         "generate toy.ee --ids ids --min-p 1",
                         "generate toy.ee --ids ids --threads 100000",
                         "generate toy.ee --ids ids --threads -1",
                         "generate toy.ee --ids ids -t 0",
                         "eval toy.ee --ids ids -t 0",
                         "bench toy.ee -t 0",
                         "generate toy.ee --ids ids --batch 0",
                         "generate toy.ee --ids ids --sim-check",
                         "generate toy.ee --ids ids --sim-seed 3",
                         "generate toy.ee --ids ids --chunk 0",
                         "generate toy.ee --ids ids --max-rows 0",
                         "generate toy.ee --ids ids --kv-pages 1",
                         "generate toy.ee --ids ids --debt-cap -1",
                         "generate toy.ee --ids ids --cpu-level sse",
                         "generate toy.ee --ids ids --cpu-level avx512",
                         "generate toy.ee --ids ids --threshold middle=1",
                         "generate toy.ee --ids ids --threshold early",
                         "generate toy.ee --ids ids --min-depth 9",
                         "generate toy.ee --ids ids --max-depth -1",
                         "generate toy.ee --ids ids --policy bad-policy",
                         "generate toy.ee --ids ids --policy none",
                         "generate toy.ee --ids ids --script one-script",
                         "generate toy.ee --ids ids --script ids",
                         "generate toy.ee --ids ids --eos 99",
                         "generate toy.ee --ids ids --eos x",
                         "generate toy.ee --ids ids --color mauve",
                         "generate toy.ee --ids ids --kv-hash",
                         "generate toy.ee --ids ids --json --trace none/trace",
                         "run toy.ee",
                         "run toy.ee --input ids",
                         "run toy.ee --input ids=@none",
                         "run toy.ee --input ids=@not.npy",
                         "run toy.ee --input other=@not.npy",
                         "eval toy.ee",
                         "eval toy.ee --ids empty",
                         "eval toy.ee --ids ids -c 1",
                         "inspect ids",
                         "compare toy.ee",
                         "compare toy.ee toy.ee",
                         "compare toy.ee none.ee --ids ids",
                         "compare toy.ee toy.ee --ids ids -n 0",
                         "bench toy.ee -b 0",
                         "bench toy.ee -p 1000",
                         "bench toy.ee -n 1",
                         "bench toy.ee -o xml"};
  for (const char *arguments : cases) {
    Output got = run(arguments);
    EXPECT_EQ(got.code, 1) << arguments;
    EXPECT_EQ(got.out, "") << arguments;
    EXPECT_EQ(std::count(got.err.begin(), got.err.end(), '\n'), 1)
        << arguments << ": " << got.err;
    EXPECT_EQ(got.err.rfind("ee-run: ", 0), 0u) << arguments << got.err;
  }
  for (auto &entry : std::filesystem::directory_iterator(dir.path()))
    EXPECT_EQ(entry.path().filename().string().find("trace"),
              std::string::npos);
}

TEST_F(CliTest, AnInputThatOnlyRunFeedsIsRefusedByName) {
  json m = toy::manifest("exact");
  m["model"]["inputs"].push_back({{"name", "pixels"}, {"role", "other"}});
  toy::write(dir.path() / "toy.ee", m);
  Output got = run("generate toy.ee --ids ids");
  EXPECT_EQ(got.code, 1);
  EXPECT_NE(got.err.find("pixels"), std::string::npos);
}

TEST_F(CliTest, HelpNamesTheFlags) {
  Output got = run("generate --help");
  EXPECT_EQ(got.code, 0);
  for (const char *flag : {"--prompts", "--temp", "--threshold", "--cpu-level"})
    EXPECT_NE(got.out.find(flag), std::string::npos);
}

/// Whether the process handles SIGINT by now, as the kernel tells.
bool catchesInterrupt(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("SigCgt:", 0) == 0)
      return std::stoull(line.substr(7), nullptr, 16) >> (SIGINT - 1) & 1;
  return false;
}

TEST_F(CliTest, InterruptEndsCleanly) {
  // Seconds of work, so it does not finish between two looks of the parent.
  std::string many;
  for (int i = 0; i < 20000; ++i)
    many += "1 2 3\n";
  write("many", many);
  std::string out = (dir.path() / "out.txt").string();
  std::string model = (dir.path() / "toy.ee").string();
  std::string ids = (dir.path() / "many").string();
  pid_t child = fork();
  if (child == 0) {
    if (!std::freopen(out.c_str(), "w", stdout))
      _exit(9);
    execl(EE_RUN, EE_RUN, "generate", model.c_str(), "--ids", ids.c_str(), "-n",
          "250", "--json", "--eos", "none", nullptr);
    _exit(9);
  }
  int status = 0;
  pid_t ended = 0;
  while (!catchesInterrupt(child) &&
         (ended = waitpid(child, &status, WNOHANG)) == 0)
    std::this_thread::yield();
  ASSERT_EQ(ended, 0) << "it ended by itself: " << status;
  kill(child, SIGINT);
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  // Whole objects came out all the same.
  std::vector<json> objects = lines(slurp(out));
  EXPECT_EQ(objects.size(), 20000u);
  EXPECT_EQ(objects.back()["finish"], "cancelled");
}

TEST(PromptsFileTest, Escapes) {
  EXPECT_EQ(unescape("a\\nb\\tc\\\\n", "f:1"), "a\nb\tc\\n");
  EXPECT_THROW(unescape("a\\x", "f:1"), CommandError);
  EXPECT_THROW(unescape("a\\", "f:1"), CommandError);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run inspect`: what is in an artifact, without running its code.
#include "commands.h"
#include "ee/file.h"
#include "ee/function.h"
#include "ee/json.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace {

struct InspectFlags {
  std::string artifact;
  bool verify = false, json = false;
};

long long shown(int64_t value) { return value; }

void printProgram(const ee::Manifest &m) {
  std::printf("program\n");
  for (size_t i = 0; i < m.program.size(); ++i) {
    const ee::ProgramNode &n = m.program[i];
    std::printf("  %3zu %-7s", i, ee::nodeKindName(n.kind));
    if (n.stage >= 0)
      std::printf(" %s", m.stages[size_t(n.stage)].name.c_str());
    if (n.appends >= 0)
      std::printf(" [%s]", m.levels[size_t(n.appends)].name.c_str());
    if (n.site >= 0)
      std::printf(" %s:", m.exits[size_t(n.site)].name.c_str());
    if (n.flags & EE_ROW_EMITS)
      std::printf(" emits:");
    if (n.yes >= 0)
      std::printf(" yes %d, no %d", n.yes, n.no);
    if (n.owes >= 0)
      std::printf(", owes %d", n.owes);
    if (n.next >= 0)
      std::printf(" -> %d", n.next);
    std::printf("\n");
  }
}

void printDecoder(const ee::Manifest &m) {
  std::printf("model      %s: vocab %lld, hidden %lld, layers %lld, positions "
              "%lld\n",
              m.model.name.c_str(), shown(m.model.vocab), shown(m.model.hidden),
              shown(m.model.layers), shown(m.model.maxPosition));
  std::printf("formats    linear %s, head %s\n", m.linearFormat.c_str(),
              m.headFormat.c_str());
  std::printf("eos       ");
  for (int32_t id : m.model.eos)
    std::printf(" %d", id);
  std::printf("\ninputs    ");
  for (const ee::ModelInput &input : m.model.inputs)
    std::printf(" %s", input.name.c_str());
  int64_t perToken = 0;
  for (const ee::KvLevelEntry &level : m.levels)
    perToken += level.bytesPerPosition;
  std::printf("\nkv         %lld bytes per token, pages of %lld positions\n",
              shown(perToken), shown(m.pagePositions));
  for (const ee::KvLevelEntry &level : m.levels)
    std::printf("  %-10s %lld layers, %lld x %lld %s, slot %s, fill %s, %lld "
                "bytes per page\n",
                level.name.c_str(), shown(level.layers), shown(level.heads),
                shown(level.headDim), level.dtype.c_str(), level.slot.c_str(),
                level.fill.c_str(), shown(level.pageBytes));
  std::printf("exits      %zu\n", m.exits.size());
  for (const ee::ExitEntry &exit : m.exits)
    std::printf("  %-10s depth %lld, %s, threshold %g, fill %s\n",
                exit.name.c_str(), shown(exit.depth), exit.criterion.c_str(),
                double(exit.threshold), ee::kvFillName(exit.fill));
  std::printf("rows       %lld bytes\n", shown(m.rowBytes));
  std::printf("stages     %zu\n", m.stages.size());
  for (const ee::StageEntry &stage : m.stages)
    std::printf("  %-10s %s: arena %lld per row + %lld\n", stage.name.c_str(),
                stage.symbol.c_str(), shown(stage.arenaPerRow),
                shown(stage.arenaBase));
  printProgram(m);
}

/// An argument as a shell would take it, when that is easy.
std::string shownArgument(const std::string &text) {
  bool plain = !text.empty();
  for (char c : text)
    plain &= std::isalnum(static_cast<unsigned char>(c)) ||
             std::strchr("-_=./,:+@%", c);
  return plain ? text : ee::inQuotes(text);
}

void printProvenance(const ee::ProvenanceFacts &from) {
  auto file = [](const char *title, const ee::ProvenanceFile &file) {
    if (!file.path.empty())
      std::printf("%-10s %s, sha256 %s\n", title,
                  shownArgument(file.path).c_str(), file.sha256.c_str());
  };
  file("source", from.source);
  file("exit spec", from.exits);
  if (!from.exitLowering.empty())
    std::printf("lowering   %s\n", shownArgument(from.exitLowering).c_str());
  if (!from.date.empty())
    std::printf("compiled   %s\n", shownArgument(from.date).c_str());
  if (from.command.empty())
    return;
  std::printf("command   ");
  for (const std::string &argument : from.command)
    std::printf(" %s", shownArgument(argument).c_str());
  std::printf("\n");
}

/// Files whose hash is not that of the manifest, each with a line on stderr.
std::vector<std::string> badFiles(const ee::Artifact &artifact) {
  std::vector<std::string> bad;
  const ee::Manifest &m = artifact.manifest();
  for (size_t i = 0; i < m.files.size(); ++i) {
    progress("hashing " + m.files[i].path);
    auto verified = artifact.verifyFile(i);
    progress("");
    if (verified)
      continue;
    std::fprintf(stderr, "ee-run: %s\n", verified.error().c_str());
    bad.push_back(m.files[i].path);
  }
  return bad;
}

/// The manifest as it is, and what it does not say.
void printJson(const InspectFlags &flags, const ee::Artifact &artifact,
               const std::vector<std::string> &bad) {
  constexpr uint64_t maxBytes = uint64_t(64) << 20;
  ee::Directory folder = need(ee::Directory::open(flags.artifact));
  ee::File file =
      need(ee::File::openBeneath(folder, "manifest.json", maxBytes));
  nlohmann::json out;
  out["path"] = flags.artifact;
  out["manifest"] =
      need(ee::parseJson(need(file.readAll(maxBytes)), "manifest.json"));
  out["runs_here"] = nlohmann::json::array();
  for (const ee::CpuCodeEntry &code : artifact.manifest().cpu)
    if (ee::CpuFeatures::detect().supports(code.level))
      out["runs_here"].push_back(code.level);
  if (flags.verify)
    out["bad_files"] = bad;
  // A path is bytes, JSON is Unicode.
  std::printf("%s\n",
              out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                  .c_str());
}

void printFunction(const ee::Manifest &m) {
  std::printf("model      %s\n", m.function.name.c_str());
  for (auto [title, list] : {std::pair("inputs", &m.function.inputs),
                             std::pair("outputs", &m.function.outputs)}) {
    std::printf("%-10s %zu\n", title, list->size());
    for (const ee::FunctionTensor &tensor : *list)
      std::printf("  %s: %s %s\n", ee::inQuotes(tensor.name).c_str(),
                  tensor.dtype.c_str(), ee::shapeText(tensor).c_str());
  }
}

int inspect(const InspectFlags &flags) {
  ee::Artifact artifact = need(ee::Artifact::open(flags.artifact));
  const ee::Manifest &m = artifact.manifest();
  std::vector<std::string> bad;
  if (flags.verify)
    bad = badFiles(artifact);
  int code = bad.empty() ? 0 : 1;
  if (flags.json) {
    printJson(flags, artifact, bad);
    return code;
  }
  ee::CpuFeatures here = ee::CpuFeatures::detect();
  bool isDecoder = m.kind == ee::ArtifactKind::Decoder;
  std::printf("artifact   %s, by %s, format %lld, %s ABI %d\n",
              isDecoder ? "decoder" : "function", m.producer.c_str(),
              shown(ee::artifactFormatVersion),
              isDecoder ? "stage" : "function",
              isDecoder ? EE_STAGE_ABI : EE_FUNCTION_ABI);
  for (const ee::CpuCodeEntry &level : m.cpu)
    std::printf("code       %s (%s), numerics profile %s\n",
                level.level.c_str(),
                here.supports(level.level) ? "runs here" : "does not run here",
                level.profile.c_str());
  if (m.gpu)
    for (const ee::GpuCodeEntry &ptx : m.gpu->code)
      std::printf("code       PTX for sm_%lld and above, %zu cubins, numerics "
                  "profile %s\n",
                  shown(ptx.sm), ptx.cubins.size(), m.gpu->profile.c_str());
  printProvenance(m.provenance);
  int64_t weightBytes = 0;
  for (const ee::WeightEntry &weight : m.weights)
    weightBytes += int64_t(weight.bytes);
  std::printf("weights    %zu, %lld bytes\n", m.weights.size(),
              shown(weightBytes));
  if (isDecoder)
    printDecoder(m);
  else
    printFunction(m);
  std::printf("files      %zu\n", m.files.size());
  for (const ee::FileEntry &file : m.files) {
    bool isBad = std::find(bad.begin(), bad.end(), file.path) != bad.end();
    std::printf("  %s  %llu bytes%s\n", ee::inQuotes(file.path).c_str(),
                static_cast<unsigned long long>(file.bytes),
                !flags.verify ? ""
                : isBad       ? "  BAD"
                              : "  ok");
  }
  return code;
}

} // namespace

void addInspect(CLI::App &app, int &exitCode) {
  auto *command = app.add_subcommand(
      "inspect", "Show what is in an artifact. Runs none of its code.");
  auto flags = std::make_shared<InspectFlags>();
  command->add_option("model", flags->artifact, "Artifact made by ee-opt")
      ->required()
      ->type_name("DIR");
  command->add_flag("--verify", flags->verify,
                    "Hash every file and compare with the manifest");
  command->add_flag("--json", flags->json,
                    "One JSON object: the manifest, and what runs here");
  command->callback([flags, &exitCode] { exitCode = inspect(*flags); });
}

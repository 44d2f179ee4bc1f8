// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run inspect`: what is in an artifact, without running its code.
#include "commands.h"
#include "ee/file.h"
#include "ee/function.h"

#include <cstdio>

namespace {

struct InspectFlags {
  std::string artifact;
  bool verify = false;
};

long long shown(int64_t value) { return value; }

void printProgram(const ee::Manifest &m) {
  std::printf("program\n");
  for (size_t i = 0; i < m.program.size(); ++i) {
    const ee::ProgramNode &n = m.program[i];
    std::printf("  %3zu %-7s", i, ee::nodeKindName(n.kind));
    if (n.stage >= 0)
      std::printf(" %s", m.stages[size_t(n.stage)].name.c_str());
    if (n.level >= 0)
      std::printf(" [%s]", m.levels[size_t(n.level)].name.c_str());
    if (n.kind == ee::NodeKind::Decide)
      std::printf(" %s: leave %d, stay %d, owes %d",
                  m.exits[size_t(n.exit)].name.c_str(), n.leave, n.stay,
                  n.owes);
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
  ee::CpuFeatures here = ee::CpuFeatures::detect();
  bool isDecoder = m.kind == ee::ArtifactKind::Decoder;
  std::printf("artifact   %s, by %s, format %lld, %s ABI %d\n",
              isDecoder ? "decoder" : "function", m.producer.c_str(),
              shown(ee::artifactFormatVersion),
              isDecoder ? "stage" : "function",
              isDecoder ? EE_STAGE_ABI : EE_FUNCTION_ABI);
  for (const ee::CpuCodeEntry &code : m.cpu)
    std::printf("code       %s (%s), numerics profile %s\n", code.level.c_str(),
                here.supports(code.level) ? "runs here" : "does not run here",
                code.profile.c_str());
  if (m.gpu)
    for (const ee::GpuCodeEntry &code : m.gpu->code)
      std::printf("code       PTX for sm_%lld and above, %zu cubins, numerics "
                  "profile %s\n",
                  shown(code.sm), code.cubins.size(), m.gpu->profile.c_str());
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
  bool ok = true;
  for (size_t i = 0; i < m.files.size(); ++i) {
    const char *state = "";
    if (flags.verify) {
      progress("hashing " + m.files[i].path);
      auto verified = artifact.verifyFile(i);
      progress("");
      state = verified ? "  ok" : "  BAD";
      if (!verified) {
        std::fprintf(stderr, "ee-run: %s\n", verified.error().c_str());
        ok = false;
      }
    }
    std::printf("  %s  %llu bytes%s\n", ee::inQuotes(m.files[i].path).c_str(),
                static_cast<unsigned long long>(m.files[i].bytes), state);
  }
  return ok ? 0 : 1;
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
  command->callback([flags, &exitCode] { exitCode = inspect(*flags); });
}

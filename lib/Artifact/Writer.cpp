// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes artifacts: weights, code, tokenizer, policy, and last the manifest.

#include "AdaptiveDialect/Artifact/Writer.h"
#include "Manifest.h"
#include "OutputFolder.h"
#include "PackedWeights.h"

#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace adaptive;

/// policy.toml: the thresholds of the file, for people to change.
static std::string policyText(ModuleOp module) {
  std::string text =
      "# Seeds of the policy record. Thresholds are in logit space.\n"
      "# Hashed like code: lay changes over it with --policy FILE.\n"
      "version = 1\nforce_full = false\nmin_depth = 0\n";
  llvm::raw_string_ostream stream(text);
  for (auto entry : module.getOps<ExitEntryOp>())
    stream << "\n[exits.\"" << entry.getSymName() << "\"]\nthreshold = "
           << llvm::formatv("{0:E9}", entry.getThreshold().convertToDouble())
           << "\n";
  return text;
}

static ee::Expected<void> write(ModuleOp module, const cpu::CodePlan &plan,
                                WeightStore &store,
                                const ArtifactContents &contents,
                                StringRef path) {
  auto folder = OutputFolder::create(path);
  if (!folder)
    return folder.takeFailure();
  std::vector<WrittenFile> files;
  auto keep = [&](ee::Expected<WrittenFile> file) -> ee::Expected<void> {
    if (!file)
      return file.takeFailure();
    files.push_back(*file);
    return {};
  };
  std::string packing = contents.linearFormat;
  if (contents.headFormat != contents.linearFormat)
    packing += "-" + contents.headFormat;
  std::string weightFile = "weights/cpu-" + packing + ".safetensors";
  llvm::StringMap<PlacedWeight> places;
  if (auto ok = keep(writePackedWeights(module, plan, store, contents, *folder,
                                        weightFile, places));
      !ok)
    return ok;
  for (auto &[level, object] : contents.code)
    if (auto ok = keep(folder->write(codePath(level), object)); !ok)
      return ok;
  if (!contents.tokenizer.empty())
    if (auto ok = keep(folder->write("tokenizer.json", contents.tokenizer));
        !ok)
      return ok;
  if (auto ok = keep(folder->write("policy.toml", policyText(module))); !ok)
    return ok;
  auto manifest =
      folder->write("manifest.json", manifestText(module, plan, contents,
                                                  places, weightFile, files));
  if (!manifest)
    return manifest.takeFailure();
  return folder->commit(contents.check);
}

ee::Expected<void> adaptive::checkArtifactPath(StringRef path) {
  return OutputFolder::check(path);
}

LogicalResult adaptive::writeArtifact(ModuleOp module,
                                      const cpu::CodePlan &plan,
                                      WeightStore &store,
                                      const ArtifactContents &contents,
                                      StringRef path) {
  if (auto done = write(module, plan, store, contents, path); !done)
    return module.emitError(done.error());
  return success();
}

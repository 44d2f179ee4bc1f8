// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes artifacts of kind function: weights, code, manifest.

#include "AdaptiveDialect/Artifact/Writer.h"
#include "AdaptiveDialect/Conversion/CPU/Function.h"
#include "Manifest.h"
#include "OutputFolder.h"
#include "PlainWeights.h"

#include "ee/function_abi.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace adaptive;
using llvm::json::Array;
using llvm::json::Object;

static constexpr const char *weightFile = "weights/generic.safetensors";

static Array tensorsOf(ArrayRef<cpu::FunctionValue> values) {
  Array list;
  for (const cpu::FunctionValue &value : values) {
    Array shape;
    for (auto [extent, name] : llvm::zip(value.shape, value.dims))
      if (extent < 0 && !name.empty())
        shape.push_back(name);
      else
        shape.push_back(extent);
    list.push_back(Object{{"name", value.name},
                          {"dtype", value.dtype},
                          {"shape", std::move(shape)}});
  }
  return list;
}

static Array weightsOf(ModuleOp module, const cpu::FunctionSignature &signature,
                       const llvm::StringMap<PlacedWeight> &places) {
  SymbolTable symbols(module);
  Array weights;
  for (const std::string &name : signature.weights) {
    RankedTensorType type =
        symbols.lookup<WeightOpInterface>(name).getWeightType();
    Array shape;
    for (int64_t extent : type.getShape())
      shape.push_back(extent);
    PlacedWeight place = places.lookup(name);
    weights.push_back(Object{{"name", name},
                             {"file", weightFile},
                             {"offset", int64_t(place.offset)},
                             {"bytes", int64_t(place.bytes)},
                             {"format", "plain"},
                             {"dtype", cpu::dtypeName(type.getElementType())},
                             {"shape", std::move(shape)}});
  }
  return weights;
}

static std::string textOf(ModuleOp module,
                          const cpu::FunctionSignature &signature,
                          const ArtifactContents &contents,
                          const llvm::StringMap<PlacedWeight> &places,
                          ArrayRef<WrittenFile> files) {
  Object manifest =
      manifestBase("function", contents, files, cpu::functionProfileName);
  manifest["function_abi"] = EE_FUNCTION_ABI;
  manifest["function"] = Object{{"name", contents.name},
                                {"symbol", "ee_function_main"},
                                {"inputs", tensorsOf(signature.inputs)},
                                {"outputs", tensorsOf(signature.outputs)}};
  manifest["weights"] = weightsOf(module, signature, places);
  return manifestText(std::move(manifest));
}

static ee::Expected<void> write(ModuleOp module, WeightStore &store,
                                const ArtifactContents &contents,
                                StringRef path) {
  auto folder = OutputFolder::create(path);
  if (!folder)
    return folder.takeFailure();
  cpu::FunctionSignature signature = cpu::functionSignature(module);
  std::vector<WrittenFile> files;
  llvm::StringMap<PlacedWeight> places;
  if (!signature.weights.empty()) {
    auto file = writePlainWeights(module, signature.weights, store, contents,
                                  *folder, weightFile, places);
    if (!file)
      return file.takeFailure();
    files.push_back(*file);
  }
  for (auto &[level, object] : contents.code) {
    auto file = folder->write(codePath(level), object);
    if (!file)
      return file.takeFailure();
    files.push_back(*file);
  }
  auto manifest = folder->write(
      "manifest.json", textOf(module, signature, contents, places, files));
  if (!manifest)
    return manifest.takeFailure();
  return folder->commit(contents.check);
}

LogicalResult adaptive::writeFunctionArtifact(ModuleOp module,
                                              WeightStore &store,
                                              const ArtifactContents &contents,
                                              StringRef path) {
  if (auto done = write(module, store, contents, path); !done)
    return module.emitError(done.error());
  return success();
}

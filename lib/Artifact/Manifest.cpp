// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// manifest.json of an artifact.

#include "Manifest.h"
#include "Provenance.h"

#include "ee/abi.h"
#include "ee/version.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace adaptive;
using llvm::json::Array;
using llvm::json::Object;

static StringRef dtypeOf(Type element) {
  return element.isF32() ? "f32" : "i32";
}

static Object modelOf(ModuleOp module, const ArtifactContents &contents) {
  ProgramOp program = *module.getOps<ProgramOp>().begin();
  Array eos;
  for (int64_t id : contents.eos)
    eos.push_back(id);
  Array inputs;
  if (ArrayAttr list = program.getInputsAttr())
    for (auto input : list.getAsRange<InputAttr>())
      inputs.push_back(Object{{"name", input.getName()},
                              {"role", stringifyInputRole(input.getRole())}});
  return Object{{"name", contents.name},
                {"vocab", int64_t(program.getVocab())},
                {"hidden", int64_t(program.getHidden())},
                {"layers", int64_t(program.getLayers())},
                {"max_position", int64_t(program.getMaxPosition())},
                {"eos", std::move(eos)},
                {"inputs", std::move(inputs)}};
}

static Array weightsOf(const cpu::CodePlan &plan,
                       const llvm::StringMap<PlacedWeight> &places,
                       StringRef file) {
  Array weights;
  for (const cpu::WeightEntry &entry : plan.weights) {
    PlacedWeight place = places.lookup(entry.symbol);
    const cpu::Packing &packing = entry.packing;
    Array shape{packing.n};
    if (packing.format != cpu::Format::Plain)
      shape.push_back(packing.k);
    Object listed{{"name", entry.symbol},
                  {"file", file},
                  {"offset", int64_t(place.offset)},
                  {"bytes", int64_t(place.bytes)},
                  {"format", cpu::formatName(packing.format)},
                  {"shape", std::move(shape)}};
    if (packing.format == cpu::Format::Plain)
      listed["dtype"] = "f32";
    weights.push_back(std::move(listed));
  }
  return weights;
}

static Object kvOf(ModuleOp module) {
  Array levels;
  int64_t page = 64;
  for (auto level : module.getOps<KVLevelOp>()) {
    page = level.getPage();
    levels.push_back(
        Object{{"name", level.getSymName()},
               {"layers", level.getNumLayers()},
               {"first", int64_t(level.getFirst())},
               {"heads", int64_t(level.getHeads())},
               {"head_dim", int64_t(level.getHeadDim())},
               {"dtype", "f32"},
               {"slot", "identity"},
               {"fill", stringifyKVFill(level.getFill())},
               {"page_bytes", level.getPageBytes()},
               {"bytes_per_position", level.getBytesPerPosition()}});
  }
  return Object{{"page_positions", page}, {"levels", std::move(levels)}};
}

static Array exitsOf(ModuleOp module) {
  Array exits;
  for (auto entry : module.getOps<ExitEntryOp>())
    exits.push_back(
        Object{{"index", int64_t(entry.getIndex())},
               {"name", entry.getSymName()},
               {"depth", int64_t(entry.getDepth())},
               {"criterion", stringifyCriterion(entry.getCriterion())},
               {"threshold", entry.getThreshold().convertToDouble()},
               {"fill", stringifyKVFill(entry.getFill())}});
  return exits;
}

/// Position of a symbol among the ops of its kind.
template <typename OpT>
static int64_t indexOf(ModuleOp module, StringRef name) {
  int64_t index = 0;
  for (auto op : module.getOps<OpT>()) {
    if (op.getSymName() == name)
      return index;
    ++index;
  }
  return -1;
}

/// Bytes of matrices a launch of the stage reads, and multiply-add flops per
/// row: what a benchmark holds against the machine's limits.
static Object costOf(const cpu::StagePlan &stage, const cpu::CodePlan &plan) {
  int64_t bytes = 0, flops = 0;
  auto count = [&](const cpu::Packing &packing) {
    bytes += packing.bytes();
    flops += 2 * packing.n * packing.k;
  };
  StageOp op = stage.op;
  op.walk([&](LinearOp linear) {
    for (Value weight : linear.getWeights())
      if (auto use = weight.getDefiningOp<UseOp>())
        count(plan.weights[plan.weightIndex.lookup(use.getWeight())].packing);
  });
  for (auto &[layers, nested] : stage.layers)
    for (int64_t layer = 0; layer < cast<LayersOp>(layers).getNumLayers();
         ++layer)
      nested->block.walk([&, &nested = nested](LinearOp linear) {
        for (Value weight : linear.getWeights())
          if (auto argument = dyn_cast<BlockArgument>(weight))
            count(plan.weights[nested->firstWeight +
                               layer * nested->weightStride +
                               argument.getArgNumber() - 1]
                      .packing);
      });
  return Object{{"weight_bytes", bytes}, {"flops_per_row", flops}};
}

static Array stagesOf(ModuleOp module, const cpu::CodePlan &plan) {
  Array stages;
  for (const auto &stage : plan.stages) {
    StageOp op = stage->op;
    Object entry{
        {"name", op.getSymName()},
        {"symbol", ("ee_stage_" + op.getSymName()).str()},
        {"arena", Object{{"per_row", stage->line.arenaPerRow}, {"base", 0}}},
        {"worker_scratch",
         int64_t(llvm::alignTo(stage->line.workerScratch, 64))},
        {"depth", int64_t(op.getDepth())},
        {"cost", costOf(*stage, plan)}};
    if (auto most = op.getMaxRows())
      entry["max_rows"] = int64_t(*most);
    if (auto level = op.getLevel())
      entry["level"] = indexOf<KVLevelOp>(module, *level);
    if (stage->logits)
      entry["outputs"] =
          Object{{"logits", Object{{"per_row_offset", stage->logits->perRow},
                                   {"width", stage->logitsWidth}}}};
    stages.push_back(std::move(entry));
  }
  return stages;
}

static Array programOf(ModuleOp module) {
  ProgramOp program = *module.getOps<ProgramOp>().begin();
  llvm::DenseMap<Value, int64_t> indexes;
  for (auto node : program.getNodes())
    indexes[node->getResult(0)] = int64_t(indexes.size());
  Array nodes;
  for (auto node : program.getNodes()) {
    auto to = [&](Value target) { return indexes.lookup(target); };
    Object entry{{"kind", node.getKind()}};
    llvm::TypeSwitch<Operation *>(node)
        .Case<EmbedNodeOp, EmitNodeOp>(
            [&](auto op) { entry["next"] = to(op.getNext()); })
        .Case([&](RunNodeOp op) {
          entry["stage"] = indexOf<StageOp>(module, op.getStage());
          entry["next"] = to(op.getNext());
        })
        .Case([&](BranchNodeOp op) {
          entry["site"] = indexOf<ExitEntryOp>(module, op.getSite());
          entry["yes"] = to(op.getYes());
          entry["no"] = to(op.getNo());
          entry["owes"] = to(op.getOwes());
        })
        .Case([&](FilterNodeOp op) {
          entry["flags"] = Array{stringifyRowFlags(op.getFlags())};
          entry["yes"] = to(op.getYes());
          entry["no"] = to(op.getNo());
        });
    nodes.push_back(std::move(entry));
  }
  return nodes;
}

std::string adaptive::codePath(cpu::Level level) {
  return ("cpu/" + cpu::levelName(level) + ".so").str();
}

Object
adaptive::manifestBase(StringRef kind, const ArtifactContents &contents,
                       ArrayRef<WrittenFile> files,
                       llvm::function_ref<std::string(cpu::Level)> profile) {
  Array fileList, code;
  for (const WrittenFile &file : files) {
    fileList.push_back(Object{{"path", file.path},
                              {"bytes", int64_t(file.bytes)},
                              {"sha256", file.sha256}});
    for (auto &[level, object] : contents.code)
      if (file.path == codePath(level))
        code.push_back(Object{{"level", cpu::levelName(level)},
                              {"file", file.path},
                              {"sha256", file.sha256},
                              {"profile", profile(level)}});
  }
  Object manifest{{"format", "ee-artifact"},
                  {"format_version", 2},
                  {"producer", std::string("ee-opt ") + ee::version()},
                  {"kind", kind},
                  {"cpu", std::move(code)},
                  {"files", std::move(fileList)}};
  if (Object provenance = provenanceObject(contents.provenance);
      !provenance.empty())
    manifest["provenance"] = std::move(provenance);
  return manifest;
}

std::string adaptive::manifestText(Object manifest) {
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::formatv("{0:2}", llvm::json::Value(std::move(manifest))) << '\n';
  return text;
}

std::string adaptive::manifestText(ModuleOp module, const cpu::CodePlan &plan,
                                   const ArtifactContents &contents,
                                   const llvm::StringMap<PlacedWeight> &places,
                                   StringRef weightFile,
                                   ArrayRef<WrittenFile> files) {
  Array columns;
  for (const cpu::Column &column : plan.columns)
    columns.push_back(Object{{"name", column.name},
                             {"dtype", dtypeOf(column.element)},
                             {"width", column.width},
                             {"offset", column.offset}});
  Object manifest = manifestBase("decoder", contents, files, cpu::profileName);
  manifest["stage_abi"] = EE_STAGE_ABI;
  manifest["model"] = modelOf(module, contents);
  manifest["formats"] =
      Object{{"linear", contents.linearFormat}, {"head", contents.headFormat}};
  manifest["weights"] = weightsOf(plan, places, weightFile);
  manifest["rows"] =
      Object{{"row_bytes", plan.rowBytes}, {"columns", std::move(columns)}};
  manifest["kv"] = kvOf(module);
  manifest["exits"] = exitsOf(module);
  manifest["stages"] = stagesOf(module, plan);
  manifest["program"] = programOf(module);
  if (!contents.tokenizer.empty())
    manifest["tokenizer"] = "tokenizer.json";
  return manifestText(std::move(manifest));
}

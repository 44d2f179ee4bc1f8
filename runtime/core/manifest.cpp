// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads manifest.json into ee::Manifest. Sizes are bounded field by field so
// that no later product of two of them can overflow unnoticed; what depends on
// several fields is checked here too.
#include "ee/manifest.h"

#include "ee/abi.h"
#include "ee/checked.h"
#include "ee/file.h"
#include "ee/function_abi.h"
#include "ee/json.h"
#include "fields.h"
#include "function_fields.h"
#include "gpu_fields.h"
#include "program_check.h"
#include "provenance_fields.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace ee {

size_t findFile(const Field &field, const Manifest &m) {
  std::string path = field.string();
  for (size_t i = 0; i < m.files.size(); ++i)
    if (m.files[i].path == path)
      return i;
  field.fail("names " + inQuotes(path) + ", which is not listed in files");
}

namespace {

constexpr int64_t maxSize = int64_t(1) << 40;
constexpr int64_t maxRowBytes = int64_t(1) << 28;

std::optional<int64_t> elementBytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, int64_t> table[] = {
      {"f32", 4}, {"f16", 2}, {"bf16", 2}, {"f64", 8}, {"i8", 1},
      {"u8", 1},  {"i16", 2}, {"i32", 4},  {"u32", 4}, {"i64", 8}};
  for (auto [name, bytes] : table)
    if (dtype == name)
      return bytes;
  return std::nullopt;
}

void readFiles(const Field &root, Manifest &m) {
  std::set<std::string> seen;
  for (const Field &entry : root.at("files").items(4096)) {
    FileEntry file;
    file.path = entry.at("path").string();
    if (file.path.empty() || !seen.insert(file.path).second)
      entry.at("path").fail("must be a path that is listed once, but is " +
                            inQuotes(file.path));
    file.bytes = uint64_t(entry.at("bytes").integer(0, maxSize));
    file.sha256 = entry.at("sha256").string();
    if (file.sha256.size() != 64 ||
        file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
      entry.at("sha256").fail("must be 64 lower-case hexadecimal digits");
    m.files.push_back(std::move(file));
  }
}

InputRole roleOf(const Field &field, const std::string &text) {
  static constexpr std::pair<std::string_view, InputRole> table[] = {
      {"input_ids", InputRole::InputIds},
      {"attention_mask", InputRole::AttentionMask},
      {"position_ids", InputRole::PositionIds},
      {"cache_position", InputRole::CachePosition},
      {"past", InputRole::Past},
      {"other", InputRole::Other}};
  for (auto [name, role] : table)
    if (text == name)
      return role;
  field.fail("is " + inQuotes(text) +
             ", accepted are input_ids, attention_mask, position_ids, "
             "cache_position, past, other");
}

void readModel(const Field &model, Manifest &m) {
  m.model.name = model.at("name").string();
  m.model.vocab = model.at("vocab").integer(1, int64_t(1) << 24);
  m.model.hidden = model.at("hidden").integer(1, int64_t(1) << 24);
  m.model.layers = model.at("layers").integer(1, 65536);
  m.model.maxPosition = model.at("max_position").integer(1, int64_t(1) << 30);
  if (auto eos = model.find("eos"))
    for (const Field &id : eos->items(1024))
      m.model.eos.push_back(int32_t(id.integer(0, m.model.vocab - 1)));
  if (auto inputs = model.find("inputs"))
    for (const Field &input : inputs->items(4096)) {
      ModelInput entry;
      entry.name = input.at("name").string();
      entry.role = roleOf(input.at("role"), input.at("role").string());
      m.model.inputs.push_back(std::move(entry));
    }
}

void readWeights(const Field &root, Manifest &m) {
  for (const Field &entry : root.at("weights").items(1 << 20)) {
    WeightEntry weight;
    weight.name = entry.at("name").string();
    weight.file = findFile(entry.at("file"), m);
    weight.offset = uint64_t(entry.at("offset").multiple(64, maxSize));
    weight.bytes = uint64_t(entry.at("bytes").integer(0, maxSize));
    uint64_t fileBytes = m.files[weight.file].bytes;
    if (!rangeFits(weight.offset, weight.bytes, fileBytes))
      entry.at("bytes").fail("reaches beyond the end of " +
                             inQuotes(m.files[weight.file].path) + " (" +
                             std::to_string(fileBytes) + " bytes)");
    weight.format =
        entry.at("format").oneOf({"plain", "f32", "bf16", "q8", "q4"});
    if (weight.format == "plain")
      weight.dtype = entry.at("dtype").string(64);
    for (const Field &extent : entry.at("shape").items(16))
      weight.shape.push_back(extent.integer(0, maxSize));
    m.weights.push_back(std::move(weight));
  }
}

void readRows(const Field &rows, Manifest &m) {
  m.rowBytes = rows.at("row_bytes").multiple(64, maxRowBytes);
  if (m.rowBytes == 0)
    rows.at("row_bytes").fail("must be positive");
  std::set<std::string> names;
  for (const Field &entry : rows.at("columns").items(4096)) {
    ColumnEntry column;
    column.name = entry.at("name").string(256);
    if (!names.insert(column.name).second)
      entry.at("name").fail("names the column " + inQuotes(column.name) +
                            " a second time");
    column.dtype = entry.at("dtype").string(64);
    auto bytes = elementBytes(column.dtype);
    if (!bytes)
      entry.at("dtype").fail("is " + inQuotes(column.dtype) +
                             ", which is not a known element type");
    column.width = entry.at("width").integer(1, maxRowBytes);
    column.offset = entry.at("offset").multiple(64, maxRowBytes);
    if (!rangeFits(uint64_t(column.offset), uint64_t(column.width * *bytes),
                   uint64_t(m.rowBytes)))
      entry.at("width").fail("reaches beyond rows.row_bytes (" +
                             std::to_string(m.rowBytes) + ")");
    m.columns.push_back(std::move(column));
  }
}

void readKv(const Field &kv, Manifest &m) {
  m.pagePositions = kv.at("page_positions").integer(1, 65536);
  for (const Field &entry : kv.at("levels").items(4096)) {
    KvLevelEntry level;
    level.name = entry.at("name").string(256);
    level.layers = entry.at("layers").integer(1, 65536);
    level.heads = entry.at("heads").integer(1, 65536);
    level.headDim = entry.at("head_dim").integer(1, 65536);
    level.dtype = entry.at("dtype").string(64);
    level.slot = entry.at("slot").string(64);
    level.fill =
        entry.at("fill").oneOf({"exact", "propagate", "copy", "skip", "share"});
    level.bytesPerPosition = entry.at("bytes_per_position").integer(1, maxSize);
    level.pageBytes = entry.at("page_bytes").multiple(64, maxSize);
    auto needed = checkedMul(level.bytesPerPosition, m.pagePositions);
    if (!needed || level.pageBytes < *needed)
      entry.at("page_bytes")
          .fail("is " + std::to_string(level.pageBytes) +
                ", less than page_positions * bytes_per_position");
    m.levels.push_back(std::move(level));
  }
}

KvFill fillOf(const std::string &text) {
  if (text == "exact")
    return KvFill::Exact;
  if (text == "propagate")
    return KvFill::Propagate;
  if (text == "copy")
    return KvFill::Copy;
  return text == "skip" ? KvFill::Skip : KvFill::Share;
}

void readExits(const Field &root, Manifest &m) {
  std::set<std::string> names;
  for (const Field &entry : root.at("exits").items(EE_MAX_EXITS)) {
    int64_t index = entry.at("index").integer(0, EE_MAX_EXITS - 1);
    if (index != int64_t(m.exits.size()))
      entry.at("index").fail("must be " + std::to_string(m.exits.size()) +
                             ", its place in the list");
    ExitEntry exit;
    exit.name = entry.at("name").string(256);
    if (exit.name.empty() || !names.insert(exit.name).second)
      entry.at("name").fail("must be a name that no other exit has");
    exit.depth = entry.at("depth").integer(0, m.model.layers);
    exit.criterion = entry.at("criterion").string(64);
    exit.threshold = float(entry.at("threshold").number());
    exit.fill = fillOf(entry.at("fill").oneOf(
        {"exact", "propagate", "copy", "skip", "share"}));
    m.exits.push_back(std::move(exit));
  }
}

void readStages(const Field &root, Manifest &m) {
  for (const Field &entry : root.at("stages").items(65536)) {
    StageEntry stage;
    stage.name = entry.at("name").string(256);
    stage.symbol = entry.at("symbol").string(256);
    if (stage.symbol.empty())
      entry.at("symbol").fail("must not be empty");
    Field arena = entry.at("arena");
    stage.arenaPerRow = arena.at("per_row").multiple(64, maxRowBytes);
    stage.arenaBase = arena.at("base").multiple(64, maxSize);
    stage.workerScratch =
        entry.at("worker_scratch").multiple(64, int64_t(1) << 32);
    if (auto depth = entry.find("depth"))
      stage.depth = depth->integer(0, m.model.layers);
    if (auto level = entry.find("level"))
      stage.level = int32_t(level->integer(0, int64_t(m.levels.size()) - 1));
    if (auto most = entry.find("max_rows"))
      stage.maxRows = int32_t(most->integer(1, EE_MAX_LAUNCH_ROWS));
    if (auto outputs = entry.find("outputs"))
      if (auto logits = outputs->find("logits")) {
        LogitsOutput out;
        out.width = logits->at("width").integer(1, int64_t(1) << 24);
        out.perRowOffset =
            logits->at("per_row_offset").multiple(64, maxRowBytes);
        if (!rangeFits(uint64_t(out.perRowOffset), uint64_t(out.width) * 4,
                       uint64_t(stage.arenaPerRow)))
          logits->at("width").fail("reaches beyond arena.per_row (" +
                                   std::to_string(stage.arenaPerRow) + ")");
        stage.logits = out;
      }
    if (auto cost = entry.find("cost"))
      stage.cost = {cost->at("weight_bytes").integer(0, maxSize),
                    cost->at("flops_per_row").integer(0, maxSize)};
    m.stages.push_back(std::move(stage));
  }
}

uint32_t readFlags(const Field &list) {
  uint32_t flags = 0;
  for (const Field &flag : list.items(1)) {
    flag.oneOf({"emits"});
    flags |= EE_ROW_EMITS;
  }
  if (!flags)
    list.fail("must name a flag, accepted is emits");
  return flags;
}

ProgramNode readNode(const Field &entry, size_t count, const Manifest &m) {
  static constexpr std::pair<std::string_view, NodeKind> kinds[] = {
      {"embed", NodeKind::Embed},   {"run", NodeKind::Run},
      {"branch", NodeKind::Branch}, {"filter", NodeKind::Filter},
      {"emit", NodeKind::Emit},     {"end", NodeKind::End}};
  std::string kind = entry.at("kind").oneOf(
      {"embed", "run", "branch", "filter", "emit", "end"});
  ProgramNode node;
  for (auto [name, value] : kinds)
    if (kind == name)
      node.kind = value;
  auto edge = [&](const char *name) {
    return int32_t(entry.at(name).integer(0, int64_t(count) - 1));
  };
  switch (node.kind) {
  case NodeKind::Run:
    node.stage =
        int32_t(entry.at("stage").integer(0, int64_t(m.stages.size()) - 1));
    node.appends = m.stages[size_t(node.stage)].level.value_or(-1);
    [[fallthrough]];
  case NodeKind::Embed:
  case NodeKind::Emit:
    node.next = edge("next");
    break;
  case NodeKind::Branch:
    node.site =
        int32_t(entry.at("site").integer(0, int64_t(m.exits.size()) - 1));
    node.owes = edge("owes");
    break;
  case NodeKind::Filter:
    node.flags = readFlags(entry.at("flags"));
    break;
  case NodeKind::End:
    break;
  }
  if (node.kind == NodeKind::Branch || node.kind == NodeKind::Filter) {
    node.yes = edge("yes");
    node.no = edge("no");
  }
  return node;
}

void readProgram(const Field &root, Manifest &m) {
  std::vector<Field> entries = root.at("program").items(65536);
  for (const Field &entry : entries)
    m.program.push_back(readNode(entry, entries.size(), m));
  m.embed = checkProgram(root.at("program"), m);
}

void readCpu(const Field &root, Manifest &m) {
  int last = -1;
  for (const Field &entry : root.at("cpu").items(16)) {
    CpuCodeEntry code;
    code.level = entry.at("level").oneOf({"x86-64-v3", "avx512"});
    int rank = code.level == "avx512" ? 1 : 0;
    if (rank <= last)
      entry.at("level").fail("must come after the lower levels, once");
    last = rank;
    code.file = findFile(entry.at("file"), m);
    code.sha256 = entry.at("sha256").string();
    if (code.sha256 != m.files[code.file].sha256)
      entry.at("sha256").fail("differs from the hash of " +
                              inQuotes(m.files[code.file].path) + " in files");
    code.profile = entry.at("profile").string();
    m.cpu.push_back(std::move(code));
  }
  if (m.cpu.empty() && !root.find("gpu"))
    root.at("cpu").fail("must list at least one CPU level where the artifact "
                        "has no gpu part");
}

/// The version of the ABI that the code was compiled for.
void readAbi(const Field &root, const char *name, int64_t provided) {
  int64_t abi = root.at(name).integer(0, INT32_MAX);
  if (abi != provided)
    root.at(name).fail("is " + std::to_string(abi) +
                       ", this runtime provides " + std::to_string(provided));
}

Manifest read(const Field &root) {
  Manifest m;
  root.at("format").oneOf({"ee-artifact"});
  int64_t version = root.at("format_version").integer(0, INT32_MAX);
  if (version != artifactFormatVersion)
    root.at("format_version")
        .fail("is " + std::to_string(version) + ", this runtime reads " +
              std::to_string(artifactFormatVersion));
  m.producer = root.at("producer").string();
  m.provenance = readProvenance(root);
  m.kind = root.at("kind").oneOf({"decoder", "function"}) == "decoder"
               ? ArtifactKind::Decoder
               : ArtifactKind::Function;
  if (m.kind == ArtifactKind::Decoder)
    readAbi(root, "stage_abi", EE_STAGE_ABI);
  else
    readAbi(root, "function_abi", EE_FUNCTION_ABI);
  readFiles(root, m);
  readCpu(root, m);
  readWeights(root, m);
  if (auto tokenizer = root.find("tokenizer"))
    m.tokenizer = findFile(*tokenizer, m);
  for (size_t i = 0; i < m.files.size(); ++i)
    if (m.files[i].path == "policy.toml")
      m.policy = i;
  if (m.kind == ArtifactKind::Function) {
    if (auto gpu = root.find("gpu"))
      gpu->fail("is not accepted in an artifact of kind function");
    m.function = readFunction(root.at("function"));
    return m;
  }
  readModel(root.at("model"), m);
  Field formats = root.at("formats");
  m.linearFormat = formats.at("linear").oneOf({"f32", "bf16", "q8", "q4"});
  m.headFormat = formats.at("head").oneOf({"f32", "bf16", "q8", "q4"});
  readRows(root.at("rows"), m);
  readKv(root.at("kv"), m);
  readExits(root, m);
  readStages(root, m);
  readProgram(root, m);
  if (auto gpu = root.find("gpu"))
    m.gpu = readGpu(*gpu, m);
  return m;
}

} // namespace

Expected<Manifest> parseManifest(std::string_view text) {
  auto json = parseJson(text, "manifest.json");
  if (!json)
    return json.takeFailure();
  try {
    return read(Field(*json, ""));
  } catch (const FieldError &error) {
    return Failure{error.what()};
  }
}

Expected<size_t> findExit(const Manifest &manifest, std::string_view text) {
  std::string list;
  for (size_t i = 0; i < manifest.exits.size(); ++i) {
    if (manifest.exits[i].name == text)
      return i;
    list += (i ? ", " : "") + inQuotes(manifest.exits[i].name);
  }
  size_t index = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), index);
  if (error == std::errc() && end == text.data() + text.size() &&
      index < manifest.exits.size())
    return index;
  if (list.empty())
    return Failure{"no exit " + inQuotes(text) + ": this model has no exits"};
  return Failure{"no exit " + inQuotes(text) + ": accepted are " + list +
                 " or an index below " + std::to_string(manifest.exits.size())};
}

const char *nodeKindName(NodeKind kind) {
  static constexpr const char *names[] = {"embed",  "run",  "branch",
                                          "filter", "emit", "end"};
  return names[size_t(kind)];
}

const char *kvFillName(KvFill fill) {
  static constexpr const char *names[] = {"exact", "propagate", "copy", "skip",
                                          "share"};
  return names[size_t(fill)];
}

} // namespace ee

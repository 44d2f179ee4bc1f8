// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The parsed manifest of an artifact (docs/ArtifactFormat.md). Everything here
// has been checked: indexes are in range, sizes fit, files are listed.
#ifndef EE_MANIFEST_H
#define EE_MANIFEST_H

#include "ee/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ee {

enum class ArtifactKind { Decoder, Function };

/// What the runtime feeds a model input with. `Other` means that only
/// `ee-run run` can feed it.
enum class InputRole {
  InputIds,
  AttentionMask,
  PositionIds,
  CachePosition,
  Past,
  Other
};

struct ModelInput {
  std::string name;
  InputRole role = InputRole::Other;
};

struct ModelFacts {
  std::string name;
  int64_t vocab = 0;
  int64_t hidden = 0;
  int64_t layers = 0;       ///< unrolled layers of the full model
  int64_t maxPosition = 0;  ///< positions a sequence may have
  std::vector<int32_t> eos; ///< ids that end a text
  std::vector<ModelInput> inputs;
};

struct FileEntry {
  std::string path; ///< relative to the artifact
  uint64_t bytes = 0;
  std::string sha256; ///< 64 lower-case hexadecimal digits
};

struct WeightEntry {
  std::string name;
  size_t file = 0; ///< index into Manifest::files
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string format; ///< plain, or panels of a matrix: f32, bf16, q8, q4
  std::string dtype;  ///< element type of a plain weight, else empty
  std::vector<int64_t> shape;
};

struct ColumnEntry {
  std::string name;
  std::string dtype;
  int64_t width = 0;  ///< elements
  int64_t offset = 0; ///< bytes from the start of the row
};

struct KvLevelEntry {
  std::string name;
  int64_t layers = 0; ///< how many unrolled layers share the pages
  int64_t heads = 0;
  int64_t headDim = 0;
  std::string dtype;
  std::string slot;
  std::string fill;
  int64_t pageBytes = 0;
  int64_t bytesPerPosition = 0;
};

/// How the KV of the layers that a leaving row skips comes about.
enum class KvFill { Exact, Propagate, Copy, Skip, Share };

struct ExitEntry {
  std::string name;
  int64_t depth = 0; ///< unrolled layers run when the row leaves here
  std::string criterion;
  float threshold = 0; ///< logit space
  KvFill fill = KvFill::Exact;
};

struct LogitsOutput {
  int64_t perRowOffset = 0; ///< bytes per row of the launch
  int64_t width = 0;        ///< floats per row
};

/// What a launch of a stage costs; for roofline shares.
struct StageCost {
  int64_t weightBytes = 0; ///< bytes of weights that a launch reads
  int64_t flopsPerRow = 0; ///< multiplies and adds of a row, attention left out
};

struct StageEntry {
  std::string name;
  std::string symbol;
  int64_t arenaPerRow = 0;
  int64_t arenaBase = 0;
  int64_t workerScratch = 0;
  std::optional<int64_t> depth;
  std::optional<int32_t> level;
  std::optional<int32_t> maxRows; ///< rows of a launch, at most
  std::optional<LogitsOutput> logits;
  std::optional<StageCost> cost;
};

enum class NodeKind { Embed, Run, Branch, Filter, Emit, End };

/// A node of the depth program. Edges are indexes of nodes, -1 where the kind
/// has no such edge.
struct ProgramNode {
  NodeKind kind = NodeKind::End;
  int32_t stage = -1;
  int32_t appends = -1; ///< the level that the stage of a run node appends to
  int32_t site = -1;    ///< the exit whose decision a branch reads
  uint32_t flags = 0;   ///< EE_ROW_*: what a filter asks for
  int32_t next = -1;
  int32_t yes = -1;
  int32_t no = -1;
  int32_t owes = -1;
};

/// An input or output of an artifact of kind function.
struct FunctionTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;    ///< -1 where known at run time only
  std::vector<std::string> dims; ///< per dimension its name, or empty
};

/// What an artifact of kind function has instead of stages and a program.
struct FunctionFacts {
  std::string name; ///< of the model
  std::string symbol;
  std::vector<FunctionTensor> inputs, outputs;
};

struct CpuCodeEntry {
  std::string level;
  size_t file = 0; ///< index into Manifest::files
  std::string sha256;
  std::string profile;
};

/// Machine code of one GPU architecture, made from the PTX beside it.
struct GpuCubin {
  int64_t sm = 0;  ///< compute capability: 86 is 8.6
  size_t file = 0; ///< index into Manifest::files
};

/// PTX for GPUs of compute capability `sm` and above.
struct GpuCodeEntry {
  int64_t sm = 0;
  size_t ptx = 0; ///< index into Manifest::files
  std::vector<GpuCubin> cubins;
};

/// One kernel launch of a step. It covers `itemsFixed + itemsPerRow * max_rows`
/// items; `offsets` are the kernel's parameters behind the stage arguments.
struct GpuLaunch {
  std::string kernel;
  int64_t itemsPerRow = 0;
  int64_t itemsFixed = 0;
  std::vector<uint64_t> offsets;
};

/// Launches that run once, or `repeat` times for as many equal layers, each
/// with its own weights and level.
struct GpuStep {
  int64_t repeat = 0; ///< 0: once, outside of any loop over layers
  int64_t firstWeight = 0;
  int64_t weightStride = 0;
  int64_t firstInLevel = 0;
  std::vector<GpuLaunch> launches;
};

struct GpuStage {
  std::vector<GpuStep> steps;
};

/// The code of an artifact for GPUs.
struct GpuCode {
  std::string profile;
  int64_t threads = 0;            ///< threads of a block
  std::vector<GpuCodeEntry> code; ///< by rising `sm`
  std::vector<GpuStage> stages;   ///< by stage index
};

/// A file that was compiled.
struct ProvenanceFile {
  std::string path, sha256; ///< empty: not known
};

/// Where the artifact comes from, as far as its manifest says; for people, so
/// nothing depends on it.
struct ProvenanceFacts {
  ProvenanceFile source, exits;
  std::string exitLowering;
  std::vector<std::string> command; ///< without the name of the artifact
  std::string date;
};

struct Manifest {
  std::string producer;
  ProvenanceFacts provenance;
  ArtifactKind kind = ArtifactKind::Decoder;
  FunctionFacts function; ///< of kind function; the rest is empty then
  ModelFacts model;
  std::string linearFormat;
  std::string headFormat;
  std::vector<FileEntry> files;
  std::vector<WeightEntry> weights;
  int64_t rowBytes = 0;
  std::vector<ColumnEntry> columns;
  int64_t pagePositions = 0;
  std::vector<KvLevelEntry> levels;
  std::vector<ExitEntry> exits;
  std::vector<StageEntry> stages;
  std::vector<ProgramNode> program;
  int32_t embed = -1;            ///< the entry node of the program
  std::vector<CpuCodeEntry> cpu; ///< may be empty where there is GPU code
  std::optional<GpuCode> gpu;
  std::optional<size_t> tokenizer; ///< index into `files`
  std::optional<size_t> policy;    ///< index into `files`: policy.toml
};

/// Version of the artifact format that this runtime reads.
inline constexpr int64_t artifactFormatVersion = 2;

/// Parses and checks manifest.json. The error names the first bad field and
/// what would be accepted.
Expected<Manifest> parseManifest(std::string_view json);

/// The index of the exit that `nameOrIndex` means, or an error that lists the
/// exits there are.
Expected<size_t> findExit(const Manifest &manifest,
                          std::string_view nameOrIndex);

const char *nodeKindName(NodeKind kind);
const char *kvFillName(KvFill fill);

} // namespace ee

#endif // EE_MANIFEST_H

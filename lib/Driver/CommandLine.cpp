// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The command line of `ee-opt X.onnx -o X.ee`.

#include "AdaptiveDialect/Driver/CommandLine.h"
#include "AdaptiveDialect/Driver/Compile.h"
#include "Diagnostics.h"
#include "Instrumentation.h"

#include "ee/signals.h"
#include "ee/version.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>
#include <mutex>

using namespace mlir;
using namespace adaptive;
namespace cl = llvm::cl;

bool adaptive::isCompileCommand(int argc, char **argv) {
  // Without arguments: help for a person, mlir-opt over a pipe.
  if (argc == 1)
    return llvm::sys::Process::StandardInIsUserInput();
  for (int i = 1; i < argc; ++i) {
    StringRef argument(argv[i]);
    // -o X.ee asks for an artifact, whatever the input.
    if (argument.ends_with(".ee") && i > 1 && StringRef(argv[i - 1]) == "-o")
      return true;
    if (argument.starts_with("--emit=") || argument.starts_with("--kind="))
      return true;
    if (argument == "--help" || argument == "-h" || argument == "--version")
      return true;
    if (!argument.starts_with("-") && argument.ends_with(".onnx"))
      return true;
  }
  return false;
}

namespace {
/// Flags live in an object, not in globals: mlir-opt's flags have the same
/// names.
struct Flags {
  cl::OptionCategory category{"ee-opt"};
  cl::opt<std::string> input{cl::Positional, cl::desc("MODEL.onnx"),
                             cl::cat(category)};
  cl::opt<std::string> output{
      "o", cl::desc("artifact folder to write (or the file of --emit)"),
      cl::value_desc("X.ee"), cl::cat(category)};
  cl::opt<std::string> kind{
      "kind", cl::init("auto"), cl::value_desc("auto|decoder|function"),
      cl::desc("decoder: per-token exits, KV cache, ee-run generate; function: "
               "any graph, for ee-run run; auto (default): a decoder if the "
               "graph is one"),
      cl::cat(category)};
  cl::opt<std::string> weights{
      "weights", cl::init("f32"), cl::value_desc("f32|bf16|q8|q4"),
      cl::desc("format of the layers' matrices (default f32)"),
      cl::cat(category)};
  cl::opt<std::string> headWeights{
      "head-weights", cl::value_desc("f32|bf16|q8|q4"),
      cl::desc("format of LM head and embedding (default: --weights, and q8 "
               "under q4)"),
      cl::cat(category)};
  cl::list<std::string> cpuLevels{
      "cpu-levels", cl::CommaSeparated, cl::value_desc("x86-64-v3,avx512"),
      cl::desc("instruction sets to make code for (default: both)"),
      cl::cat(category)};
  cl::opt<int64_t> maxPosition{
      "max-position", cl::init(0), cl::value_desc("N"),
      cl::desc("positions a sequence may have, for models that compute their "
               "rotary tables (default: max_position_embeddings of the "
               "config.json beside the model, at most 32768)"),
      cl::cat(category)};
  cl::opt<std::string> exits{
      "exits", cl::value_desc("spec.toml"),
      cl::desc("put the exits of this spec into the model"), cl::cat(category)};
  cl::opt<std::string> exitLowering{
      "exit-lowering", cl::init("grouped"), cl::value_desc("name"),
      cl::desc(
          "masked, grouped, or any pass that lowers exits, e.g. of a plugin"),
      cl::cat(category)};
  cl::opt<std::string> tokenizer{
      "tokenizer", cl::value_desc("tokenizer.json"),
      cl::desc("tokenizer to put into the artifact, or none (default: the "
               "tokenizer.json beside the model)"),
      cl::cat(category)};
  cl::list<int64_t> eos{
      "eos", cl::CommaSeparated, cl::value_desc("id,..."),
      cl::desc("end-of-text ids (default: the config files beside the model)"),
      cl::cat(category)};
  cl::opt<std::string> emit{"emit", cl::init("artifact"),
                            cl::value_desc("stage"),
                            cl::desc("what to write: plain-onnx (ONNX without "
                                     "functions), carrier, model, planned, "
                                     "kernel, llvm, asm (text), artifact"),
                            cl::cat(category)};
  cl::opt<std::string> saveTemps{
      "save-temps", cl::value_desc("DIR"),
      cl::desc("also write the intermediate forms into DIR"),
      cl::cat(category)};
  cl::list<std::string> plugins{"load-pass-plugin", cl::value_desc("file.so"),
                                cl::desc("load passes, for --exit-lowering"),
                                cl::cat(category)};
  cl::opt<bool> remarks{
      "remarks",
      cl::desc("print what was raised and what was not, and why, "
               "and what each pass of planning chose"),
      cl::cat(category)};
  cl::opt<bool> quiet{"quiet", cl::desc("no progress lines"),
                      cl::cat(category)};
};

/// Progress on standard error: a line that rewrites itself on a terminal, plain
/// lines per phase elsewhere.
class Progress {
public:
  explicit Progress(bool quiet)
      : quiet(quiet), terminal(llvm::sys::Process::StandardErrIsDisplayed()),
        start(std::chrono::steady_clock::now()) {}
  ~Progress() { clear(); }

  void operator()(StringRef what, int64_t done, int64_t all) {
    std::lock_guard<std::mutex> lock(mutex);
    if (quiet || (!terminal && all != 0))
      return;
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    if (terminal)
      llvm::errs() << "\r\033[K";
    llvm::errs() << llvm::formatv("[{0,5:F1} s] {1}", seconds, what);
    if (all != 0)
      llvm::errs() << " " << done << "/" << all;
    if (!terminal)
      llvm::errs() << "\n";
    shown = terminal;
  }
  void clear() {
    if (shown)
      llvm::errs() << "\r\033[K";
    shown = false;
  }

private:
  bool quiet, terminal, shown = false;
  std::chrono::steady_clock::time_point start;
  std::mutex mutex;
};

/// Flags on the command line that mean nothing for a function.
std::vector<std::string> decoderFlags(const Flags &flags) {
  std::vector<std::string> given;
  auto add = [&](const cl::Option &option, bool counts = true) {
    if (option.getNumOccurrences() && counts)
      given.push_back("--" + option.ArgStr.str());
  };
  add(flags.exits);
  add(flags.exitLowering);
  add(flags.weights, flags.weights != "f32");
  add(flags.headWeights, flags.headWeights != "f32");
  add(flags.eos);
  add(flags.tokenizer);
  add(flags.maxPosition);
  return given;
}

/// The command for the manifest. Artifacts that differ by their name alone are
/// equal, so the name is left out.
std::vector<std::string> commandOf(int argc, char **argv) {
  std::vector<std::string> command = {"ee-opt"};
  for (int i = 1; i < argc; ++i)
    if (StringRef(argv[i]) == "-o")
      ++i;
    else if (!StringRef(argv[i]).starts_with("-o="))
      command.push_back(argv[i]);
  return command;
}

/// Diagnostics as one line each; op names of the IR are noise to a user.
LogicalResult printDiagnostic(Diagnostic &diagnostic, bool remarks,
                              Progress &progress) {
  StringRef kind;
  switch (diagnostic.getSeverity()) {
  case DiagnosticSeverity::Error:
    kind = "error";
    break;
  case DiagnosticSeverity::Warning:
    kind = "warning";
    break;
  default:
    if (!remarks)
      return success();
    kind = "remark";
  }
  progress.clear();
  llvm::errs() << "ee-opt: " << kind << ": " << describe(diagnostic) << "\n";
  return success();
}
} // namespace

int adaptive::compileMain(int argc, char **argv, DialectRegistry &registry,
                          const RuntimeHooks &runtime) {
  ee::IgnoredSignals ignored;
  llvm::InitLLVM init(argc, argv);
  ignored.ignoreAgain(); // LLVM would act on them
  registerInstrumentationFlags();
  Flags flags;
  cl::HideUnrelatedOptions(flags.category);
  cl::SetVersionPrinter([](llvm::raw_ostream &out) {
    out << "ee-opt " << ee::version() << " (LLVM " LLVM_VERSION_STRING ")\n";
  });
  std::string errors;
  llvm::raw_string_ostream stream(errors);
  std::vector<const char *> arguments(argv, argv + argc);
  if (argc == 1)
    arguments.push_back("--help");
  if (!cl::ParseCommandLineOptions(
          arguments.size(), arguments.data(),
          "compiles an ONNX transformer to an artifact for ee-run\n\n"
          "  ee-opt MODEL.onnx -o MODEL.ee [flags]\n  ee-opt MODEL.mlir -o "
          "MODEL.ee      from a model saved with --emit=model\n"
          "  ee-opt FILE.mlir <passes>     works as mlir-opt; ee-opt FILE.mlir "
          "--help-list\n\n"
          "MLIR's flags for printing, timing and reproducing passes work in "
          "all forms:\n  --mlir-print-ir-after-all, --mlir-timing, "
          "--mlir-pass-pipeline-crash-reproducer=FILE, ... (--help-hidden)\n",
          &stream)) {
    llvm::errs() << StringRef(errors).split('\n').first << "\n";
    return 1;
  }
  for (const std::string &path : flags.plugins) {
    auto plugin = PassPlugin::load(path);
    if (!plugin) {
      llvm::errs() << "ee-opt: error: --load-pass-plugin: "
                   << llvm::toString(plugin.takeError()) << "\n";
      return 1;
    }
    plugin->registerPassRegistryCallbacks();
  }
  Progress progress(flags.quiet);
  MLIRContext context(registry);
  prepareForInstrumentation(context);
  context.loadAllAvailableDialects();
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    return printDiagnostic(diagnostic, flags.remarks, progress);
  });
  if (flags.remarks)
    printChoices(context, [&](StringRef text) {
      progress.clear();
      llvm::errs() << "ee-opt: remark: " << text << "\n";
    });
  CompileOptions options;
  options.input = flags.input;
  options.output = flags.output;
  if (options.output.empty() && flags.emit != "artifact")
    options.output = "-";
  options.emit = flags.emit;
  options.weights = flags.weights;
  options.headWeights = flags.headWeights;
  if (!flags.cpuLevels.empty())
    options.cpuLevels.assign(flags.cpuLevels.begin(), flags.cpuLevels.end());
  if (flags.maxPosition.getNumOccurrences() && flags.maxPosition == 0)
    options.maxPosition = -1; // refused; 0 would mean the default
  else
    options.maxPosition = flags.maxPosition;
  options.exits = flags.exits;
  options.exitLowering = flags.exitLowering;
  options.tokenizer = flags.tokenizer;
  options.eos.assign(flags.eos.begin(), flags.eos.end());
  options.saveTemps = flags.saveTemps;
  options.command = commandOf(argc, argv);
  options.runtime = runtime;
  options.kind = flags.kind;
  options.remarks = flags.remarks;
  options.decoderFlags = decoderFlags(flags);
  options.note = [&](StringRef text) {
    progress.clear();
    llvm::errs() << "ee-opt: remark: " << text << "\n";
  };
  options.progress = [&](StringRef what, int64_t done, int64_t all) {
    progress(what, done, all);
  };
  if (failed(compileModel(options, context)))
    return 1;
  return 0;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parsing, lowering and in-process execution for the kernel tests.

#include "Harness.h"

#include "AdaptiveDialect/Conversion/NVPTX/Ptx.h"
#include "AdaptiveDialect/IR/Adaptive.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;
using namespace kernels_test;

bool kernels_test::runsHere(Level level) {
  auto features = llvm::sys::getHostCPUFeatures();
  auto has = [&](const char *name) { return features.lookup(name); };
  if (!has("avx2") || !has("fma") || !has("f16c"))
    return false;
  return level == Level::V3 ||
         (has("avx512f") && has("avx512bw") && has("avx512dq") &&
          has("avx512vl") && has("avx512vnni") && has("avx512bf16"));
}

std::vector<Level> kernels_test::levelsHere() {
  std::vector<Level> levels;
  for (Level level : {Level::V3, Level::AVX512})
    if (runsHere(level))
      levels.push_back(level);
  return levels;
}

Bytes::Bytes(size_t size) : storage(new uint8_t[size + 64]), length(size) {
  std::memset(storage.get(), 0xff, size + 64);
  pointer = reinterpret_cast<uint8_t *>((uintptr_t(storage.get()) + 63) &
                                        ~uintptr_t(63));
}

namespace {

[[noreturn]] void die(const std::string &what) {
  std::fprintf(stderr, "kernel test harness: %s\n", what.c_str());
  std::exit(2);
}

/// Row width of a value in 32-bit words.
int64_t wordsOf(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getRank() == 1 ? 1 : tensor.getDimSize(1);
}

} // namespace

struct Case::Impl : KernelContext {
  MLIRContext mlir;
  OwningOpRef<ModuleOp> source, kernels;
  Operation *op = nullptr;
  Options setup;
  DenseMap<Value, RowBuffer> buffers;
  DenseMap<Value, WeightRef> refs;
  std::vector<Value> arguments;
  int64_t perRow = 0, storeBytes = 0;
  KernelNeeds needs;
  RowBuffer scratchBuffer;
  std::unique_ptr<llvm::orc::LLJIT> jit;
  std::vector<ee_kernel_fn> functions;
  std::unique_ptr<SimRun> sim;

  RowBuffer buffer(Value v) const override { return buffers.lookup(v); }
  WeightRef weight(Value v) const override { return refs.lookup(v); }
  RowBuffer scratch(Operation *) const override { return scratchBuffer; }
  KVRef kv(Operation *o) const override {
    auto type = isa<KVAppendOp>(o) ? cast<KVAppendOp>(o).getKv().getType()
                                   : cast<AttendOp>(o).getKv().getType();
    KVRef ref;
    ref.level = 1; // not the first, so that a wrong index shows
    ref.heads = type.getHeads();
    ref.headDim = type.getHeadDim();
    ref.page = setup.page;
    ref.layers = 2;
    return ref;
  }

  RowBuffer place(Type type) {
    RowBuffer buffer;
    bool floats = cast<RankedTensorType>(type).getElementType().isF32();
    int64_t bytes = wordsOf(type) * 4;
    if (floats && setup.rows == RowBuffer::RowStore) {
      buffer.kind = RowBuffer::RowStore;
      buffer.offset = storeBytes;
      storeBytes += (bytes + 63) / 64 * 64;
      return buffer; // the stride is known when all are placed
    }
    buffer.perRow = perRow;
    buffer.stride = (bytes + 63) / 64 * 64;
    perRow += buffer.stride;
    return buffer;
  }
  void assign(Value value, int index) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type)
      return;
    if (!type.hasStaticShape()) {
      buffers[value] = place(type);
      return;
    }
    WeightRef ref;
    ref.index = index;
    bool matrix = type.getRank() == 2 && isa<LinearOp, EmbedOp>(op);
    ref.packing.format = matrix ? setup.format : Format::Plain;
    if (auto it = setup.formats.find(index); it != setup.formats.end())
      ref.packing.format = it->second;
    if (ref.packing.format == Format::Plain)
      ref.packing = {Format::Plain, type.getNumElements(), 1};
    else
      ref.packing = {ref.packing.format, type.getDimSize(0),
                     type.getDimSize(1)};
    refs[value] = ref;
  }
  void emit(const Runner &runner, Case &out);
  void compile(Case &out);
};

const adaptive::kernels::Target &Runner::target() const {
  return sim ? adaptive::nvptx::laneTarget() : wideTarget(level);
}

void Case::Impl::emit(const Runner &runner, Case &out) {
  kernels = ModuleOp::create(UnknownLoc::get(&mlir));
  SmallVector<Launch> list;
  if (failed(emitKernels(op, "kernel", runner.target(), *this, *kernels, list)))
    die("no kernel");
  out.launches.assign(list.begin(), list.end());
  if (!runner.sim)
    return compile(out);
  auto ptx = adaptive::nvptx::emitPtx(*kernels, runner.sim->sm);
  if (failed(ptx))
    die("no PTX");
  out.ptx = *ptx;
  sim = std::make_unique<SimRun>(out.ptx, *runner.sim);
}

void Case::Impl::compile(Case &out) {
  PassManager pm(&mlir);
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  if (failed(pm.run(*kernels)))
    die("lowering failed");
  auto llvmContext = std::make_unique<llvm::LLVMContext>();
  auto code = translateModuleToLLVMIR(*kernels, *llvmContext);
  if (!code)
    die("no LLVM IR");

  llvm::orc::JITTargetMachineBuilder target(
      llvm::Triple("x86_64-unknown-linux-gnu"));
  target.getOptions().AllowFPOpFusion = llvm::FPOpFusion::Strict;
  target.setCodeGenOptLevel(llvm::CodeGenOptLevel::Aggressive);
  auto machine = llvm::cantFail(target.createTargetMachine());
  code->setDataLayout(machine->createDataLayout());
  code->setTargetTriple(machine->getTargetTriple());
  llvm::LoopAnalysisManager lam;
  llvm::FunctionAnalysisManager fam;
  llvm::CGSCCAnalysisManager cam;
  llvm::ModuleAnalysisManager mam;
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = false;
  llvm::PassBuilder builder(machine.get(), tuning);
  builder.registerModuleAnalyses(mam);
  builder.registerCGSCCAnalyses(cam);
  builder.registerFunctionAnalyses(fam);
  builder.registerLoopAnalyses(lam);
  builder.crossRegisterProxies(lam, fam, cam, mam);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2)
      .run(*code, mam);
  for (llvm::Function &function : *code) {
    if (function.isDeclaration() && !function.isIntrinsic())
      out.declared.push_back(function.getName().str());
    out.code += function.getInstructionCount();
  }
  jit = llvm::cantFail(llvm::orc::LLJITBuilder()
                           .setJITTargetMachineBuilder(std::move(target))
                           .create());
  llvm::cantFail(jit->addIRModule(
      llvm::orc::ThreadSafeModule(std::move(code), std::move(llvmContext))));
  for (const Launch &launch : out.launches)
    functions.push_back(
        llvm::cantFail(jit->lookup(launch.function)).toPtr<ee_kernel_fn>());
}

Case::Case(const Runner &runner, const std::string &parameters,
           const std::string &text, const Options &setup)
    : impl(std::make_unique<Impl>()) {
  static const bool initialised = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)initialised;
  DialectRegistry registry;
  registry.insert<AdaptiveDialect, arith::ArithDialect, func::FuncDialect,
                  LLVM::LLVMDialect, math::MathDialect, scf::SCFDialect>();
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  impl->mlir.appendDialectRegistry(registry);
  impl->mlir.loadAllAvailableDialects();
  impl->setup = setup;
  std::string source =
      "func.func @f(" + parameters + ") {\n" + text + "\nreturn\n}";
  impl->source = parseSourceString<ModuleOp>(source, &impl->mlir);
  if (!impl->source)
    die("cannot parse\n" + source);
  auto function = cast<func::FuncOp>(impl->source->getBody()->front());
  impl->op = function.front().getTerminator()->getPrevNode();
  int index = 0;
  for (Value argument : function.getArguments()) {
    impl->arguments.push_back(argument);
    impl->assign(argument, index++);
  }
  Value last;
  for (Value argument : function.getArguments())
    if (impl->buffers.count(argument))
      last = argument;
  for (Value value : impl->op->getResults()) {
    if (setup.inPlace && value == impl->op->getResult(0))
      impl->buffers[value] = impl->buffers[last];
    else
      impl->assign(value, -1);
  }
  for (auto &[value, buffer] : impl->buffers)
    if (buffer.kind == RowBuffer::RowStore)
      buffer.stride = impl->storeBytes;
  impl->needs = kernelNeeds(impl->op, *impl);
  impl->scratchBuffer.perRow = impl->perRow;
  impl->scratchBuffer.stride = impl->needs.scratchPerRow;
  impl->perRow += impl->needs.scratchPerRow;
  packed.resize(impl->arguments.size());
  weights.assign(impl->arguments.size(), nullptr);
  impl->emit(runner, *this);
}

Case::~Case() = default;

Packing Case::packing(int argument) const {
  return impl->refs.lookup(impl->arguments[size_t(argument)]).packing;
}

void Case::setWeight(int argument, const std::vector<float> &values) {
  Packing p = packing(argument);
  packed[size_t(argument)] = Bytes(size_t(p.bytes()));
  packMatrix(p, values.data(), p.format == Format::Plain ? 1 : p.k, 1,
             packed[size_t(argument)].data());
  weights[size_t(argument)] = packed[size_t(argument)].data();
}

void Case::rows(int64_t n) {
  count = n;
  slots = 2 * n + 3;
  list.clear();
  for (int64_t i = 0; i < n; ++i)
    list.push_back(int32_t((i * 2 + 1) % slots));
  std::shuffle(list.begin(), list.end(), std::mt19937(uint32_t(n)));
  size_t s = size_t(slots);
  store = Bytes(s * size_t(impl->storeBytes) + 64);
  arena = Bytes(size_t(impl->perRow * n) + 64);
  scratch = Bytes(size_t(impl->needs.workerScratch) *
                      size_t(impl->sim ? SimRun::groups : 2) +
                  64);
  for (auto *column :
       {&token, &sequence, &position, &depth, &policy, &script, &decision})
    column->assign(s, 0);
  flags.assign(s, 0);
  criteria.assign(s * EE_MAX_EXITS, 0);
}

float *Case::locate(const RowBuffer &buffer, int64_t row) {
  if (buffer.kind == RowBuffer::RowStore)
    return reinterpret_cast<float *>(store.data() + slot(row) * buffer.stride +
                                     buffer.offset);
  return reinterpret_cast<float *>(arena.data() + buffer.perRow * count +
                                   row * buffer.stride);
}
float *Case::input(int argument, int64_t row) {
  return locate(impl->buffers.lookup(impl->arguments[size_t(argument)]), row);
}
float *Case::result(int64_t row, int index) {
  return locate(impl->buffers.lookup(impl->op->getResult(unsigned(index))),
                row);
}

void Case::run(int64_t piece) {
  ee_team team{nullptr, 2};
  int32_t active = int32_t(count);
  args.rows = list.data();
  args.n_active = &active;
  args.max_rows = count;
  args.row_store = store.data();
  args.columns = {token.data(), sequence.data(), position.data(),
                  depth.data(), policy.data(),   script.data(),
                  flags.data(), decision.data(), criteria.data()};
  args.weights = weights.data();
  args.arena = arena.data();
  args.worker_scratch = scratch.data();
  args.worker_scratch_bytes = impl->needs.workerScratch;
  args.team = &team;
  if (impl->sim)
    return runSimulated(active);
  for (auto [function, launch] : llvm::zip_equal(impl->functions, launches)) {
    int64_t items = launch.itemsPerRow * count + launch.itemsFixed;
    int64_t step = piece ? piece : std::max<int64_t>(items, 1);
    int64_t pieces = (items + step - 1) / step;
    for (int64_t p = pieces - 1; p >= 0; --p)
      function(&args, &context, p * step, std::min(items, (p + 1) * step),
               p % 2);
  }
}

void Case::runSimulated(const int32_t &active) {
  SimRun &sim = *impl->sim;
  auto give = [&](const auto &list, const char *name) {
    sim.share(list.data(), list.size() * sizeof(list[0]), name);
  };
  sim.share(&active, sizeof active, "n_active");
  give(list, "rows");
  sim.share(store.data(), store.size(), "row store");
  sim.share(arena.data(), arena.size(), "arena");
  sim.share(scratch.data(), scratch.size(), "scratch");
  for (auto *column :
       {&token, &sequence, &position, &depth, &policy, &script, &decision})
    give(*column, "column");
  give(flags, "flags");
  give(criteria, "criteria");
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i])
      sim.share(weights[i], size_t(packing(int(i)).bytes()), "weight");
  for (const Shared &extra : shared)
    sim.share(extra.data, extra.bytes, extra.name);
  shared.clear();
  std::string problems =
      sim.run(args, context, launches, kvLevels, weights.size());
  if (!problems.empty())
    die("the simulator reports\n" + problems);
}

std::vector<float> kernels_test::randomFloats(size_t n, uint32_t seed,
                                              float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(n);
  for (float &value : values)
    value = normal(generator);
  return values;
}

double kernels_test::ulps(float actual, double expected) {
  float nearest = float(expected);
  if (std::isnan(expected) || std::isinf(nearest) || std::isnan(actual) ||
      std::isinf(actual)) {
    bool same = std::isnan(expected) ? std::isnan(actual) : actual == nearest;
    return same ? 0 : INFINITY;
  }
  float step =
      std::nextafter(std::fabs(nearest), INFINITY) - std::fabs(nearest);
  return std::fabs(double(actual) - expected) / double(step);
}

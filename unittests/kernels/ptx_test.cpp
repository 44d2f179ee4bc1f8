// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// PTX text of kernels: what it may not contain, which GPUs it is made for, and
// which kernels become one. That its results are the CPU's is the conformance
// test's business.

#include "Harness.h"

#include "AdaptiveDialect/Conversion/NVPTX/Ptx.h"
#include "AdaptiveDialect/IR/Adaptive.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "gtest/gtest.h"

using namespace adaptive;
using namespace kernels_test;

namespace {

std::string kernelWith(const std::string &body) {
  return ".version 7.0\n.target sm_80\n.visible .entry k(\n\t.param .u64 "
         "k_param_0\n)\n{\n\t.reg .b32 %r<9>;\n$L__BB0_0:\n" +
         body + "\n\tret;\n}\n";
}

TEST(FindInexact, TakesWhatRoundsAndNothingElse) {
  EXPECT_EQ(std::nullopt,
            nvptx::findInexact(kernelWith(
                "\tadd.rn.f32 %r1, %r2, %r3;\n"
                "\tfma.rn.f32 %r1, %r2, %r3, %r4;\n"
                "\t@%p1 bra $L__BB0_0;\n"
                "\tadd.s32 %r1, %r2, %r3; // a comment on add.f32\n"
                "\tmax.f32 %r1, %r2, %r3;\n\tsetp.lt.f32 %p1, %r1, %r2;")));
  struct Bad {
    const char *text, *why;
  };
  for (Bad bad : {Bad{"\tadd.f32 %r1, %r2, %r3;",
                      "'add.f32' in the PTX of kernel k does not say how it "
                      "rounds, so that ptxas may contract it"},
                  Bad{"\t@%p2 mul.f32 %r1, %r2, %r3;",
                      "'mul.f32' in the PTX of kernel k does not say how it "
                      "rounds, so that ptxas may contract it"},
                  Bad{"\tdiv.full.f32 %r1, %r2, %r3;",
                      "'div.full.f32' in the PTX of kernel k does not say how "
                      "it rounds, so that ptxas may contract it"},
                  Bad{"\tex2.approx.f32 %r1, %r2;",
                      "'ex2.approx.f32' in the PTX of kernel k is approximate"},
                  Bad{"\tadd.rn.ftz.f32 %r1, %r2, %r3;",
                      "'add.rn.ftz.f32' in the PTX of kernel k flushes "
                      "subnormals to zero"},
                  Bad{"\tcall.uni (retval0), __nv_expf, (param0);",
                      "'call.uni' in the PTX of kernel k calls a function"},
                  Bad{"\tatom.global.add.u32 %r1, [%rd1], 1;",
                      "'atom.global.add.u32' in the PTX of kernel k makes "
                      "results depend on the order of threads"},
                  Bad{".extern .func (.param .b32 r) __nv_expf",
                      "PTX refers to something outside of it: '.extern .func "
                      "(.param .b32 r) __nv_expf'"}})
    EXPECT_EQ(bad.why, nvptx::findInexact(kernelWith(bad.text)).value_or(""))
        << bad.text;
}

const char *const norm = "%y = adaptive.norm rms %x, %w epsilon 1.0e-5 : "
                         "tensor<?x64xf32>, tensor<64xf32>";
const char *const parameters = "%x: tensor<?x64xf32>, %w: tensor<64xf32>";

TEST(EmitPtx, MakesTextForEveryKnownGPU) {
  for (llvm::StringRef sm : nvptx::knownSMs()) {
    SimOptions options;
    options.sm = sm.str();
    Case c(options, parameters, norm);
    EXPECT_NE(std::string::npos, c.ptx.find(".target " + options.sm))
        << options.sm;
    EXPECT_NE(std::string::npos, c.ptx.find(".visible .entry kernel("))
        << options.sm;
  }
}

TEST(EmitPtx, RefusesAnUnknownGPU) {
  mlir::MLIRContext context;
  std::string message;
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &d) {
    message = d.str();
    return mlir::success();
  });
  auto module = mlir::OwningOpRef<mlir::ModuleOp>(
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&context)));
  EXPECT_TRUE(failed(nvptx::emitPtx(*module, "sm_52")));
  EXPECT_EQ("there is no PTX for 'sm_52'; known are sm_80, sm_90, sm_100a, "
            "sm_120",
            message);
}

/// Places that differ in nothing but offsets.
struct Places : kernels::KernelContext {
  int64_t first = 0;
  kernels::RowBuffer buffer(mlir::Value) const override {
    kernels::RowBuffer buffer;
    buffer.perRow = first;
    buffer.stride = 256;
    return buffer;
  }
  kernels::WeightRef weight(mlir::Value) const override { return {}; }
  kernels::RowBuffer scratch(mlir::Operation *) const override { return {}; }
  kernels::KVRef kv(mlir::Operation *) const override { return {}; }
};

TEST(MergeEqualKernels, LeavesOneOfThoseThatDifferInOffsets) {
  mlir::MLIRContext context;
  context.loadDialect<mlir::LLVM::LLVMDialect, mlir::arith::ArithDialect,
                      mlir::scf::SCFDialect>();
  mlir::Location loc = mlir::UnknownLoc::get(&context);
  auto module = mlir::OwningOpRef<mlir::ModuleOp>(mlir::ModuleOp::create(loc));
  Places places;
  llvm::SmallVector<kernels::Launch> launches;
  kernels::emitSetDepthKernel(loc, 3, "a.depth", nvptx::laneTarget(), places,
                              *module, launches);
  kernels::emitSetDepthKernel(loc, 4, "b.depth", nvptx::laneTarget(), places,
                              *module, launches);
  EXPECT_EQ(llvm::SmallVector<int64_t>{3}, launches[0].offsets);
  EXPECT_EQ(llvm::SmallVector<int64_t>{4}, launches[1].offsets);
  auto renamed = nvptx::mergeEqualKernels(*module);
  EXPECT_EQ(renamed["a.depth"], renamed["b.depth"]);
  EXPECT_TRUE(llvm::StringRef(renamed["a.depth"]).starts_with("depth_"));
  auto left = module->getOps<mlir::LLVM::LLVMFuncOp>();
  EXPECT_EQ(1, std::distance(left.begin(), left.end()));
}

} // namespace

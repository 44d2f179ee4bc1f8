// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lanes that part and meet, what they do together, barriers, and that the
// result of a clean kernel does not depend on the schedule.
#include "SimTest.h"

#include <bit>
#include <numeric>
#include <random>

using namespace ee::gpu;

namespace {

using Words = std::vector<uint32_t>;

const uint32_t seeds[] = {0, 1, 2, 3, 4, 5, 6, 7};

/// Stores %r1 of each thread of a CTA of 32 at every seed; all must agree.
Words perLane(const std::string &body) {
  Words first;
  for (uint32_t seed : seeds) {
    Sim sim(kernelText(body + "\nmul.wide.u32 %rd31, %r0, 4;\n"
                              "add.s64 %rd31, %rd31, %rd0;\n"
                              "st.global.b32 [%rd31], %r1;",
                       1),
            true, seed);
    uint64_t out = sim.buffer(Words(32));
    EXPECT_EQ(sim.launch({out}), "");
    EXPECT_EQ(sim.findings(), "");
    Words got = sim.read<uint32_t>(out, 32);
    if (seed == 0)
      first = got;
    EXPECT_EQ(got, first) << "seed " << seed;
  }
  return first;
}

Words lanes(uint32_t (*fn)(uint32_t)) {
  Words expected(32);
  for (uint32_t i = 0; i < 32; ++i)
    expected[i] = fn(i);
  return expected;
}

TEST(SimWarp, LanesPartAndMeet) {
  // Odd lanes count down from their index, even lanes square theirs.
  EXPECT_EQ(
      perLane("and.b32 %r2, %r0, 1;\nsetp.eq.b32 %p1, %r2, 0;\n"
              "mov.b32 %r1, 0;\nmov.b32 %r3, %r0;\n"
              "@%p1 bra $even;\n"
              "$loop: add.s32 %r1, %r1, %r3;\nadd.s32 %r3, %r3, -1;\n"
              "setp.gt.s32 %p2, %r3, 0;\n@%p2 bra $loop;\n"
              "bra.uni $join;\n"
              "$even: mul.lo.s32 %r1, %r0, %r0;\n"
              "$join: add.s32 %r1, %r1, 1;"),
      lanes([](uint32_t i) { return (i % 2 ? i * (i + 1) / 2 : i * i) + 1; }));
}

TEST(SimWarp, GuardsAndSelections) {
  EXPECT_EQ(perLane("setp.lt.u32 %p1, %r0, 10;\nmov.b32 %r1, 5;\n"
                    "@%p1 add.s32 %r1, %r1, %r0;\n@!%p1 mov.b32 %r1, 7;\n"
                    "setp.gt.and.u32 %p2, %r0, 3, !%p1;\n"
                    "selp.b32 %r2, 100, 0, %p2;\nadd.s32 %r1, %r1, %r2;"),
            lanes([](uint32_t i) { return i < 10 ? 5 + i : 107; }));
}

TEST(SimWarp, BranchTables) {
  EXPECT_EQ(perLane("rem.u32 %r2, %r0, 3;\n"
                    "$table: .branchtargets $zero, $one, $two;\n"
                    "brx.idx %r2, $table;\n"
                    "$zero: mov.b32 %r1, 10;\nbra $end;\n"
                    "$one: mov.b32 %r1, 11;\nbra $end;\n"
                    "$two: mov.b32 %r1, 12;\n$end:"),
            lanes([](uint32_t i) { return 10 + i % 3; }));
}

TEST(SimWarp, ShufflesOfWholeAndHalfWarps) {
  EXPECT_EQ(perLane("shfl.sync.bfly.b32 %r1, %r0, 5, 31, -1;"),
            lanes([](uint32_t i) { return i ^ 5; }));
  EXPECT_EQ(perLane("shfl.sync.down.b32 %r1, %r0, 3, 31, -1;"),
            lanes([](uint32_t i) { return i + 3 < 32 ? i + 3 : i; }));
  EXPECT_EQ(perLane("shfl.sync.up.b32 %r1, %r0, 3, 0, -1;"),
            lanes([](uint32_t i) { return i >= 3 ? i - 3 : i; }));
  // Segments of 16 lanes: c holds 15 and, from bit 8, the mask 16.
  EXPECT_EQ(perLane("shfl.sync.idx.b32 %r1, %r0, 2, 0x100f, -1;"),
            lanes([](uint32_t i) { return i / 16 * 16 + 2; }));
  EXPECT_EQ(perLane("shfl.sync.down.b32 %r1|%p1, %r0, 4, 0x100f, -1;\n"
                    "selp.b32 %r2, 1000, 0, %p1;\nadd.s32 %r1, %r1, %r2;"),
            lanes([](uint32_t i) { return i % 16 < 12 ? i + 1004 : i; }));
  // Each half names itself only, on a path of its own.
  EXPECT_EQ(perLane("and.b32 %r2, %r0, 16;\nshl.b32 %r3, 0xffff, %r2;\n"
                    "setp.eq.b32 %p1, %r2, 0;\nmov.b32 %r1, 0;\n"
                    "@%p1 bra $skip;\n"
                    "shfl.sync.bfly.b32 %r1, %r0, 1, 31, %r3;\n$skip:"),
            lanes([](uint32_t i) { return i < 16 ? 0 : i ^ 1; }));
}

TEST(SimWarp, VotesAndReductions) {
  EXPECT_EQ(perLane("setp.lt.u32 %p1, %r0, 5;\n"
                    "vote.sync.ballot.b32 %r1, %p1, -1;"),
            lanes([](uint32_t) { return 31u; }));
  EXPECT_EQ(perLane("setp.lt.u32 %p1, %r0, 5;\n"
                    "vote.sync.any.pred %p2, %p1, -1;\n"
                    "vote.sync.all.pred %p3, %p1, -1;\n"
                    "vote.sync.all.pred %p4, !%p3, -1;\n"
                    "selp.b32 %r1, 1, 0, %p2;\nselp.b32 %r2, 2, 0, %p3;\n"
                    "selp.b32 %r3, 4, 0, %p4;\nadd.s32 %r1, %r1, %r2;\n"
                    "add.s32 %r1, %r1, %r3;"),
            lanes([](uint32_t) { return 5u; }));
  EXPECT_EQ(perLane("redux.sync.add.u32 %r1, %r0, -1;"),
            lanes([](uint32_t) { return 496u; }));
  EXPECT_EQ(perLane("sub.s32 %r2, 3, %r0;\n"
                    "redux.sync.min.s32 %r1, %r2, -1;"),
            lanes([](uint32_t) { return uint32_t(-28); }));
  EXPECT_EQ(perLane("sub.s32 %r2, 3, %r0;\n"
                    "redux.sync.max.u32 %r1, %r2, -1;"),
            lanes([](uint32_t) { return ~0u; }));
}

TEST(SimWarp, SpecialRegistersOfAGrid) {
  Sim sim(kernelText("mov.u32 %r1, %tid.y;\nmov.u32 %r2, %ntid.x;\n"
                     "mad.lo.s32 %r3, %r1, %r2, %r0;\n"
                     "mov.u32 %r4, %ctaid.y;\nmov.u32 %r5, %nctaid.x;\n"
                     "mov.u32 %r6, %ctaid.x;\nmad.lo.s32 %r7, %r4, %r5, %r6;\n"
                     "mad.lo.s32 %r8, %r7, 40, %r3;\n"
                     "mov.u32 %r9, %warpid;\nmov.u32 %r10, %laneid;\n"
                     "mad.lo.s32 %r11, %r9, 32, %r10;\n"
                     "mul.wide.u32 %rd1, %r8, 4;\nadd.s64 %rd1, %rd1, %rd0;\n"
                     "mad.lo.s32 %r12, %r7, 1000, %r11;\n"
                     "st.global.b32 [%rd1], %r12;",
                     1));
  uint64_t out = sim.buffer(Words(240));
  ASSERT_EQ(sim.launch({out}, {8, 5}, {3, 2}), "");
  Words got = sim.read<uint32_t>(out, 240);
  for (uint32_t i = 0; i < 240; ++i)
    EXPECT_EQ(got[i], i / 40 * 1000 + i % 40);
}

/// Sums `n` floats in a fixed tree: shuffles, then shared memory.
const char *const sumBody =
    "mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd2, %rd0;\n"
    "ld.global.f32 %f1, [%rd3];\n"
    "shfl.sync.down.b32 %r2, %f1, 16, 31, -1;\nmov.b32 %f2, %r2;\n"
    "add.rn.f32 %f1, %f1, %f2;\n"
    "shfl.sync.down.b32 %r2, %f1, 8, 31, -1;\nmov.b32 %f2, %r2;\n"
    "add.rn.f32 %f1, %f1, %f2;\n"
    "mov.u64 %rd4, sums;\nadd.s64 %rd5, %rd4, %rd2;\n"
    "st.shared.f32 [%rd5], %f1;\nbar.sync 0;\n"
    "setp.ne.b32 %p1, %r0, 0;\n@%p1 bra $end;\n"
    "mov.f32 %f3, 0f00000000;\nmov.b32 %r4, 0;\n"
    "$next: ld.shared.f32 %f4, [%rd4];\nadd.rn.f32 %f3, %f3, %f4;\n"
    "add.s64 %rd4, %rd4, 4;\nadd.s32 %r4, %r4, 1;\n"
    "setp.lt.u32 %p2, %r4, 128;\n@%p2 bra $next;\n"
    "st.global.f32 [%rd1], %f3;\n$end:";

TEST(SimWarp, ACleanKernelHasOneResultForAllSchedules) {
  std::mt19937 random(3);
  std::vector<float> values(128);
  for (float &v : values)
    v = std::normal_distribution<float>()(random);
  // The same tree here.
  std::vector<float> tree = values;
  for (int by : {16, 8}) {
    std::vector<float> next = tree;
    for (int i = 0; i < 128; ++i)
      next[size_t(i)] =
          tree[size_t(i)] + tree[size_t(i % 32 + by < 32 ? i + by : i)];
    tree = next;
  }
  float expected = 0;
  for (float v : tree)
    expected += v;
  for (uint32_t seed : seeds) {
    Sim sim(kernelText(sumBody, 2, ".shared .align 4 .b8 sums[512];"), true,
            seed);
    uint64_t in = sim.buffer(values), out = sim.buffer(std::vector<float>{0});
    ASSERT_EQ(sim.launch({in, out}, {128}), "");
    EXPECT_EQ(sim.findings(), "");
    EXPECT_EQ(sim.read<float>(out, 1)[0], expected) << "seed " << seed;
  }
}

TEST(SimWarp, AtomicsCountEveryThread) {
  for (uint32_t seed : seeds) {
    Sim sim(kernelText("atom.global.add.u32 %r1, [%rd0], 2;\n"
                       "red.global.max.s32 [%rd0+4], %r0;\n"
                       "red.global.add.u64 [%rd0+8], 3;\n"
                       "atom.global.cas.b32 %r2, [%rd0+16], 9, %r0;\n"
                       "red.relaxed.gpu.global.add.f32 [%rd0+20], 0f3F000000;",
                       1),
            true, seed);
    uint64_t out = sim.buffer(Words{0, 0, 0, 0, 9, 0});
    ASSERT_EQ(sim.launch({out}, {96}, {4}), "");
    EXPECT_EQ(sim.findings(), "");
    Words got = sim.read<uint32_t>(out, 6);
    EXPECT_EQ(got[0], 768u);
    EXPECT_EQ(got[1], 95u);
    EXPECT_EQ(got[2], 1152u);
    EXPECT_LT(got[4], 96u);
    EXPECT_EQ(std::bit_cast<float>(got[5]), 192.0f);
  }
}

TEST(SimWarp, LoadsExtendAndVectorsKeepTheirOrder) {
  Sim sim(
      kernelText("ld.global.s8 %r1, [%rd0+1];\nld.global.u8 %r2, [%rd0+1];\n"
                 "ld.global.s16 %r3, [%rd0+2];\n"
                 "ld.global.v2.b32 {%r4, %r5}, [%rd0+8];\n"
                 "ld.global.b64 %rd2, [%rd0+8];\n"
                 "st.global.v4.b32 [%rd1], {%r1, %r2, %r3, %r4};\n"
                 "st.global.b32 [%rd1+16], %r5;\n"
                 "st.global.u8 [%rd1+20], 0x1ff;\n"
                 "st.global.b64 [%rd1+24], %rd2;",
                 2));
  uint64_t in = sim.buffer(Words{0x80c0'8000, 1, 2, 3});
  uint64_t out = sim.buffer(Words(8));
  ASSERT_EQ(sim.launch({in, out}, {1}), "");
  EXPECT_EQ(sim.read<uint32_t>(out, 8),
            (Words{0xffff'ff80, 0x80, 0xffff'80c0, 2, 3, 0xff, 2, 3}));
}

TEST(SimWarp, VariablesLocalMemoryAndDynamicSharedMemory) {
  Sim sim(kernelText(".local .align 4 .b8 depot[128];\n"
                     "mov.u64 %rd1, depot;\nmul.wide.u32 %rd2, %r0, 4;\n"
                     "add.s64 %rd3, %rd1, %rd2;\nst.local.b32 [%rd3], %r0;\n"
                     "ld.local.b32 %r1, [%rd3];\n"
                     "mov.u64 %rd4, dynamic;\nadd.s64 %rd4, %rd4, %rd2;\n"
                     "st.shared.b32 [%rd4], %r1;\nbar.warp.sync -1;\n"
                     "ld.shared.b32 %r2, [dynamic+124];\n"
                     "ld.global.b32 %r3, [table+4];\nadd.s32 %r2, %r2, %r3;\n"
                     "add.s64 %rd5, %rd0, %rd2;\nst.global.b32 [%rd5], %r2;",
                     1,
                     ".global .align 4 .u32 table[3] = {5, 0x10, 7};\n"
                     ".extern .shared .align 16 .b8 dynamic[];"));
  uint64_t out = sim.buffer(Words(32));
  ASSERT_EQ(sim.launch({out}, {32}, {1}, 128), "");
  EXPECT_EQ(sim.findings(), "");
  EXPECT_EQ(sim.read<uint32_t>(out, 32), Words(32, 31 + 16));
}

/// One warp multiplies a 16 x 32 by a 32 x 8 matrix of bytes.
TEST(SimWarp, IntegerMatrixProducts) {
  std::mt19937 random(5);
  std::vector<uint8_t> a(16 * 32);
  std::vector<int8_t> b(8 * 32); // by column
  for (auto &v : a)
    v = uint8_t(random());
  for (auto &v : b)
    v = int8_t(random());
  // Lane l: row l / 4 of A, column l / 4 of B, bytes 4 (l % 4) on.
  Sim sim(kernelText(
      "shr.u32 %r1, %r0, 2;\nand.b32 %r2, %r0, 3;\n"
      "shl.b32 %r3, %r1, 5;\nshl.b32 %r4, %r2, 2;\nadd.s32 %r5, %r3, %r4;\n"
      "cvt.u64.u32 %rd3, %r5;\nadd.s64 %rd4, %rd0, %rd3;\n"
      "add.s64 %rd5, %rd1, %rd3;\n"
      "ld.global.b32 %r10, [%rd4];\nld.global.b32 %r11, [%rd4+256];\n"
      "ld.global.b32 %r12, [%rd4+16];\nld.global.b32 %r13, [%rd4+272];\n"
      "ld.global.b32 %r14, [%rd5];\nld.global.b32 %r15, [%rd5+16];\n"
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%r20, %r21, %r22, "
      "%r23}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {7, 7, 7, 7};\n"
      "mad.lo.s32 %r6, %r1, 8, %r4;\nmul.lo.s32 %r7, %r2, 2;\n"
      "mad.lo.s32 %r6, %r1, 8, %r7;\nmul.wide.u32 %rd6, %r6, 4;\n"
      "add.s64 %rd6, %rd6, %rd2;\n"
      "st.global.v2.b32 [%rd6], {%r20, %r21};\n"
      "st.global.v2.b32 [%rd6+256], {%r22, %r23};",
      3));
  uint64_t out = sim.buffer(Words(128));
  ASSERT_EQ(sim.launch({sim.buffer(a), sim.buffer(b), out}), "");
  std::vector<int32_t> got = sim.read<int32_t>(out, 128);
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j) {
      int32_t sum = 7;
      for (size_t k = 0; k < 32; ++k)
        sum += int32_t(a[i * 32 + k]) * b[j * 32 + k];
      EXPECT_EQ(got[i * 8 + j], sum) << i << ", " << j;
    }
}

/// The same with halves through ldmatrix and cp.async: C = A B^T, exact in
/// floats, A 16 x 16 and B 8 x 16 small integers.
TEST(SimWarp, HalfMatrixProductsThroughSharedMemory) {
  std::mt19937 random(6);
  std::vector<uint16_t> a(256), b(128);
  std::vector<float> fa(256), fb(128);
  auto fill = [&](std::vector<uint16_t> &h, std::vector<float> &f) {
    for (size_t i = 0; i < h.size(); ++i) {
      f[i] = float(int(random() % 9) - 4);
      h[i] = std::bit_cast<uint16_t>(static_cast<_Float16>(f[i]));
    }
  };
  fill(a, fa), fill(b, fb);
  Sim sim(kernelText(
      "mov.u64 %rd3, tiles;\nmul.wide.u32 %rd4, %r0, 16;\n"
      "add.s64 %rd5, %rd3, %rd4;\nadd.s64 %rd6, %rd0, %rd4;\n"
      "cp.async.cg.shared.global [%rd5], [%rd6], 16;\n"
      "setp.lt.u32 %p1, %r0, 16;\nadd.s64 %rd7, %rd1, %rd4;\n"
      "@%p1 cp.async.cg.shared.global [%rd5+512], [%rd7], 16;\n"
      "cp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\n"
      // A: lanes 0-15 address rows, 16-31 the second half of their columns.
      "and.b32 %r1, %r0, 15;\nshr.u32 %r2, %r0, 4;\nshl.b32 %r3, %r1, 5;\n"
      "shl.b32 %r4, %r2, 4;\nadd.s32 %r3, %r3, %r4;\ncvt.u64.u32 %rd8, %r3;\n"
      "add.s64 %rd8, %rd8, %rd3;\n"
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, "
      "[%rd8];\n"
      "and.b32 %r1, %r0, 7;\nshr.u32 %r2, %r0, 3;\nand.b32 %r2, %r2, 1;\n"
      "shl.b32 %r3, %r1, 5;\nshl.b32 %r4, %r2, 4;\nadd.s32 %r3, %r3, %r4;\n"
      "cvt.u64.u32 %rd9, %r3;\nadd.s64 %rd9, %rd9, %rd3;\n"
      "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r14, %r15}, [%rd9+512];\n"
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3},"
      " {%r10, %r11, %r12, %r13}, {%r14, %r15}, {0f00000000, 0f00000000, "
      "0f00000000, 0f00000000};\n"
      "shr.u32 %r5, %r0, 2;\nand.b32 %r6, %r0, 3;\nshl.b32 %r6, %r6, 1;\n"
      "mad.lo.s32 %r7, %r5, 8, %r6;\nmul.wide.u32 %rd10, %r7, 4;\n"
      "add.s64 %rd10, %rd10, %rd2;\nst.global.v2.f32 [%rd10], {%f0, %f1};\n"
      "st.global.v2.f32 [%rd10+256], {%f2, %f3};",
      3, ".shared .align 128 .b8 tiles[768];"));
  uint64_t out = sim.buffer(std::vector<float>(128));
  ASSERT_EQ(sim.launch({sim.buffer(a), sim.buffer(b), out}), "");
  EXPECT_EQ(sim.findings(), "");
  std::vector<float> got = sim.read<float>(out, 128);
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j) {
      float sum = 0;
      for (size_t k = 0; k < 16; ++k)
        sum += fa[i * 16 + k] * fb[j * 16 + k];
      EXPECT_EQ(got[i * 8 + j], sum) << i << ", " << j;
    }
}

} // namespace

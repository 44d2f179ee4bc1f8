// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Each check fires on a kernel that has the fault, names the thread and the
// instruction, and is silent on the kernel without it.
#include "SimTest.h"

using namespace ee::gpu;

namespace {

using Words = std::vector<uint32_t>;

/// Addresses word tid of p0 in %rd10 and of shared memory in %rd11.
const std::string prologue =
    "mul.wide.u32 %rd9, %r0, 4;\nadd.s64 %rd10, %rd0, %rd9;\n"
    "mov.u64 %rd8, area;\nadd.s64 %rd11, %rd8, %rd9;\n";
const char *const area = ".shared .align 16 .b8 area[512];";

/// Runs `body` with a buffer of 64 words and gives the error or the findings.
std::string outcome(const std::string &body, Dim block = {64},
                    uint32_t seed = 0, Dim grid = {1}) {
  Sim sim(kernelText(prologue + body, 1, area), true, seed);
  uint64_t out = sim.buffer(Words(64));
  std::string error = sim.launch({out}, block, grid);
  return error.empty() ? sim.findings() : error;
}

void expectReport(const std::string &body, const std::string &part,
                  Dim block = {64}) {
  std::string report = outcome(body, block);
  EXPECT_TRUE(contains(report, part)) << body << "\ngave: " << report;
  EXPECT_TRUE(contains(report, "kernel k, cta 0, thread ")) << report;
  EXPECT_TRUE(contains(report, "PTX line ")) << report;
}

TEST(SimChecks, Bounds) {
  EXPECT_EQ(outcome("st.global.b32 [%rd10], %r0;"), "");
  std::string report = outcome("st.global.b32 [%rd10+4], %r0;");
  EXPECT_TRUE(contains(report, "thread 63 (warp 1, lane 31)")) << report;
  EXPECT_TRUE(contains(report, "st.global.b32 [%rd10+4], %r0")) << report;
  EXPECT_TRUE(contains(report, "4 bytes at 0x")) << report;
  EXPECT_TRUE(contains(report, "offset 256 of buffer, which has 256 bytes"))
      << report;
  expectReport("ld.global.b32 %r1, [%rd10+-4];", "4 bytes before buffer");
  expectReport("mov.u64 %rd1, 64;\nld.global.b32 %r1, [%rd1];",
               "in no allocation");
  expectReport("st.shared.b32 [%rd11+260], %r0;",
               "4 bytes at offset 512 of 512 bytes of shared memory");
  expectReport("ld.shared.b32 %r1, [%rd8+-4];", "another space");
  expectReport("ld.global.b32 %r1, [%rd11];", "another space");
  expectReport("ld.shared.b32 %r1, [%rd10];", "of shared memory");
  expectReport("ld.local.b32 %r1, [%rd11];", "another space");
}

TEST(SimChecks, BoundsHoldWithoutChecks) {
  Sim sim(kernelText(prologue + "st.global.b32 [%rd10+4], %r0;", 1, area),
          false);
  uint64_t out = sim.buffer(Words(32));
  EXPECT_TRUE(contains(sim.launch({out}), "out of bounds"));
}

TEST(SimChecks, Alignment) {
  expectReport("ld.global.v2.b32 {%r1, %r2}, [%rd10];", "misaligned");
  expectReport("st.shared.b64 [%rd11], %rd1;", "misaligned");
}

TEST(SimChecks, FreedMemory) {
  Sim sim(kernelText("ld.global.b32 %r1, [%rd0];", 1));
  uint64_t out = sim.buffer(Words(8));
  ASSERT_EQ(sim.launch({out}), "");
  ASSERT_TRUE(sim.machine.memory.release(out));
  EXPECT_TRUE(contains(sim.launch({out}), "which was freed"));
  EXPECT_FALSE(sim.machine.memory.release(out));
}

TEST(SimChecks, UninitialisedReads) {
  const std::string use = "ld.shared.b32 %r1, [%rd11];";
  expectReport(use, "never written");
  EXPECT_EQ(outcome("st.shared.b32 [%rd11], %r0;\n" + use), "");
  Sim sim(kernelText("ld.global.b32 %r1, [%rd0+4];\nst.global.b32 [%rd0], "
                     "%r1;",
                     1));
  uint64_t memory = sim.empty(8);
  ASSERT_EQ(sim.launch({memory}, {1}), "");
  EXPECT_TRUE(contains(sim.findings(), "never written"));
  EXPECT_EQ(sim.read<uint32_t>(memory, 1)[0], 0xffff'ffffu) << "not poisoned";
  sim.machine.findings.clear();
  sim.machine.memory.written(memory + 4, 4);
  ASSERT_EQ(sim.launch({memory}, {1}), "");
  EXPECT_EQ(sim.findings(), "");
}

TEST(SimChecks, SharedMemoryIsNewForEachCta) {
  std::string report = outcome("mov.u32 %r2, %ctaid.x;\nsetp.eq.b32 %p1, %r2, "
                               "0;\n@%p1 st.shared.b32 [%rd11], %r0;\n"
                               "@!%p1 ld.shared.b32 %r1, [%rd11];",
                               {64}, 0, {2});
  EXPECT_TRUE(contains(report, "cta 1")) << report;
  EXPECT_TRUE(contains(report, "never written")) << report;
}

TEST(SimChecks, RacesInSharedMemoryBetweenWarps) {
  const std::string write = "st.shared.b32 [%rd11], %r0;\n";
  const std::string read = "sub.s32 %r2, 63, %r0;\nmul.wide.u32 %rd12, %r2, "
                           "4;\nadd.s64 %rd12, %rd12, %rd8;\n"
                           "ld.shared.b32 %r1, [%rd12];\n";
  EXPECT_EQ(outcome(write + "bar.sync 0;\n" + read), "");
  expectReport(write + read, "no barrier lies between");
  // Reads before a write that no barrier parts.
  EXPECT_EQ(outcome(write + "bar.sync 0;\n" + read + "bar.sync 0;\n" +
                    "st.shared.b32 [%rd11], 5;\n"),
            "");
  expectReport(write + "bar.sync 0;\n" + read + "st.shared.b32 [%rd11], 5;\n",
               "no barrier lies between");
}

TEST(SimChecks, RacesInsideOfAWarp) {
  // Lane 0 stores, the others of its half load.
  const std::string store = "and.b32 %r2, %r0, 15;\nsetp.eq.b32 %p1, %r2, 0;\n"
                            "and.b32 %r3, %r0, 16;\nshl.b32 %r4, 0xffff, %r3;\n"
                            "sub.s32 %r5, %r0, %r2;\n"
                            "mul.wide.u32 %rd12, %r5, 4;\n"
                            "add.s64 %rd12, %rd12, %rd0;\n"
                            "@%p1 st.global.b32 [%rd12], 77;\n";
  const std::string load = "ld.global.b32 %r1, [%rd12];\n";
  const std::string sync = "bar.warp.sync %r4;\n";
  for (uint32_t seed : {0u, 1u, 2u, 3u}) {
    EXPECT_EQ(outcome(store + sync + load, {32}, seed), "");
    EXPECT_TRUE(contains(outcome(store + load, {32}, seed), "races with"));
    // The barrier of the other half orders nothing here.
    EXPECT_TRUE(contains(
        outcome(store + "setp.eq.b32 %p2, %r3, 0;\n@%p2 " + sync + load, {32},
                seed),
        "races with"));
  }
  // After the loads, a store needs a barrier again.
  EXPECT_EQ(outcome(store + sync + load + sync + store, {32}), "");
  EXPECT_TRUE(contains(
      outcome(store + sync + load + "@%p1 st.global.b32 [%rd12], 78;", {32}),
      "races with"));
}

TEST(SimChecks, RacesBetweenCtas) {
  // Every CTA writes its own number into the same word.
  std::string report = outcome("mov.u32 %r1, %ctaid.x;\n"
                               "st.global.b32 [%rd0], %r1;",
                               {1}, 0, {2});
  EXPECT_TRUE(contains(report, "another CTA")) << report;
  EXPECT_EQ(outcome("red.global.add.u32 [%rd0], 1;", {1}, 0, {2}), "");
}

TEST(SimChecks, NonCoherentLoadsOfWhatTheLaunchWrites) {
  expectReport("st.global.b32 [%rd10], %r0;\nbar.sync 0;\n"
               "ld.global.nc.b32 %r1, [%rd10];",
               ".nc load");
  // The other way round, once a kernel is known to write the buffer.
  Sim sim(kernelText("ld.global.nc.b32 %r1, [%rd0];\nbar.sync 0;\n"
                     "st.global.b32 [%rd0], 5;",
                     1));
  uint64_t out = sim.buffer(Words(8));
  ASSERT_EQ(sim.launch({out}, {1}), "");
  ASSERT_EQ(sim.launch({out}, {1}), "");
  EXPECT_TRUE(contains(sim.findings(), ".nc load")) << sim.findings();
  EXPECT_EQ(outcome("ld.global.nc.b32 %r1, [%rd10];\nst.shared.b32 [%rd11], "
                    "%r1;"),
            "");
}

TEST(SimChecks, WritesOfEarlierLaunchesAreNoRaces) {
  Sim sim(kernelText("ld.global.b32 %r1, [%rd0];\nld.global.nc.b32 %r2, "
                     "[%rd1];\nst.global.b32 [%rd0], %r2;",
                     2));
  uint64_t a = sim.buffer(Words{1}), b = sim.buffer(Words{2});
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(sim.launch({a, b}, {1}), "");
    ASSERT_EQ(sim.launch({b, a}, {1}), "");
  }
  EXPECT_EQ(sim.findings(), "");
}

TEST(SimChecks, CollectivesThatNeverComplete) {
  // Lane 0 skips a shuffle that names it, and waits elsewhere.
  expectReport("setp.eq.b32 %p1, %r0, 0;\n@%p1 bra $other;\n"
               "shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;\nbra $end;\n"
               "$other: bar.warp.sync -1;\n$end:",
               "waits for lanes that are at", {32});
  expectReport("setp.eq.b32 %p1, %r0, 40;\n@%p1 bra $end;\n"
               "vote.sync.any.pred %p2, %p1, 1;\n$end:",
               "not in the mask");
  // Lane 1 reads lane 2, which does not take part.
  expectReport("setp.gt.u32 %p1, %r0, 1;\n@%p1 bra $end;\n"
               "shfl.sync.down.b32 %r1, %r0, 1, 31, 3;\n$end:",
               "reads lane 2, which takes no part", {32});
  // Half a warp cannot wait at the CTA's barrier while the other waits at
  // another instruction.
  expectReport("setp.lt.u32 %p1, %r0, 16;\n@%p1 bra $other;\nbar.sync 0;\n"
               "bra $end;\n$other: bar.sync 0;\n$end:",
               "waits for lanes", {32});
}

TEST(SimChecks, LanesThatHaveEndedAreNotWaitedFor) {
  EXPECT_EQ(outcome("setp.gt.u32 %p1, %r0, 7;\n@%p1 exit;\n"
                    "bar.warp.sync 0xff;\nbar.sync 0;"),
            "");
}

TEST(SimChecks, EndlessLoopsAndTraps) {
  expectReport("$a: bra $a;", "more than 1048576 instructions");
  expectReport("setp.eq.b32 %p1, %r0, 3;\n@%p1 trap;", "trapped");
  EXPECT_TRUE(
      contains(outcome("setp.eq.b32 %p1, %r0, 3;\n@%p1 trap;"), "thread 3 "));
}

TEST(SimChecks, CopiesThatNobodyWaitsFor) {
  const std::string copy =
      "mul.wide.u32 %rd1, %r0, 4;\nadd.s64 %rd2, %rd0, %rd1;\n"
      "mov.u64 %rd3, tile;\nadd.s64 %rd4, %rd3, %rd1;\n"
      "cp.async.ca.shared.global [%rd4], [%rd2], 4;\n"
      "cp.async.commit_group;\n";
  const std::string use = "ld.shared.b32 %r1, [%rd4];\n"
                          "st.global.b32 [%rd2], %r1;\n";
  for (const char *wait : {"0", "1"}) {
    Sim sim(kernelText(copy + "cp.async.wait_group " + wait + ";\n" + use, 1,
                       ".shared .align 16 .b8 tile[128];"));
    uint64_t data = sim.buffer(Words(32, 6));
    ASSERT_EQ(sim.launch({data}), "");
    EXPECT_EQ(sim.read<uint32_t>(data, 32),
              Words(32, *wait == '0' ? 6 : 0xffff'ffff));
  }
}

TEST(SimChecks, TheSourceLocationIsNamed) {
  std::string report = outcome(".loc 1 12 3\nst.global.b32 [%rd10+4], %r0;");
  EXPECT_TRUE(contains(report, "of ?:12:3")) << report;
  Sim sim(kernelText(".loc 1 12 3\nst.global.b32 [%rd0+4], %r0;", 1,
                     ".file 1 \"model.mlir\""));
  uint64_t out = sim.buffer(Words(1));
  report = sim.launch({out});
  EXPECT_TRUE(contains(report, "of model.mlir:12:3")) << report;
}

TEST(SimChecks, LaunchesAreChecked) {
  Sim sim(kernelText("", 1));
  uint64_t out = sim.buffer(Words(1));
  EXPECT_TRUE(contains(sim.launch({}), "takes 8 bytes of parameters"));
  EXPECT_TRUE(contains(sim.launch({out}, {2048}), "1 to 1024 threads"));
  EXPECT_TRUE(contains(sim.launch({out}, {32}, {0}), "at least one CTA"));
  EXPECT_EQ(sim.launch({out}), "");
}

} // namespace

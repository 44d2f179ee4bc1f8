// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Faults planted into kernels written by hand: the checks and the output must
// find them. Each kernel has what compiled ones have: guarded stores of half
// warps, trees of shuffles, shared memory between barriers, loops.
#include "Mutate.h"
#include "SimTest.h"

#include <algorithm>
#include <numeric>
#include <sstream>

using namespace ee::gpu;

namespace {

using Words = std::vector<uint32_t>;

struct Subject {
  const char *name;
  std::string ptx;
  Dim block, grid;
  Words input, expected;
};

/// Reverses 64 words through shared memory.
Subject reverse() {
  Subject s{"reverse",
            kernelText("mul.wide.u32 %rd2, %r0, 4;\n"
                       "add.s64 %rd3, %rd0, %rd2;\n"
                       "ld.global.b32 %r1, [%rd3];\n"
                       "mov.u64 %rd4, tile;\n"
                       "add.s64 %rd5, %rd4, %rd2;\n"
                       "st.shared.b32 [%rd5], %r1;\n"
                       "bar.sync 0;\n"
                       "sub.s64 %rd6, %rd4, %rd2;\n"
                       "ld.shared.b32 %r2, [%rd6+252];\n"
                       "add.s64 %rd7, %rd1, %rd2;\n"
                       "st.global.b32 [%rd7], %r2;",
                       2, ".shared .align 16 .b8 tile[256];"),
            {64},
            {1},
            Words(64),
            {}};
  std::iota(s.input.begin(), s.input.end(), 100u);
  s.expected.assign(s.input.rbegin(), s.input.rend());
  return s;
}

/// Each half warp sums 16 words of its item by a tree, its first lane stores
/// the sum, and all lanes add it to their word: in a loop over items.
Subject halfWarps() {
  Subject s{"half warps",
            kernelText("and.b32 %r1, %r0, 15;\nand.b32 %r2, %r0, 16;\n"
                       "shl.b32 %r3, 0xffff, %r2;\nshr.u32 %r4, %r0, 4;\n"
                       "setp.eq.b32 %p1, %r1, 0;\n"
                       "$item:\n"
                       "shl.b32 %r5, %r4, 6;\nshl.b32 %r6, %r1, 2;\n"
                       "add.s32 %r7, %r5, %r6;\ncvt.u64.u32 %rd2, %r7;\n"
                       "add.s64 %rd3, %rd0, %rd2;\nld.global.b32 %r8, [%rd3];\n"
                       "mov.b32 %r9, %r8;\n"
                       "shfl.sync.down.b32 %r10, %r9, 8, 0x101f, %r3;\n"
                       "add.s32 %r9, %r9, %r10;\n"
                       "shfl.sync.down.b32 %r10, %r9, 4, 0x101f, %r3;\n"
                       "add.s32 %r9, %r9, %r10;\n"
                       "shfl.sync.down.b32 %r10, %r9, 2, 0x101f, %r3;\n"
                       "add.s32 %r9, %r9, %r10;\n"
                       "shfl.sync.down.b32 %r10, %r9, 1, 0x101f, %r3;\n"
                       "add.s32 %r9, %r9, %r10;\n"
                       "cvt.u64.u32 %rd4, %r5;\nadd.s64 %rd5, %rd1, %rd4;\n"
                       "bar.warp.sync %r3;\n"
                       "@%p1 st.global.b32 [%rd5+512], %r9;\n"
                       "bar.warp.sync %r3;\n"
                       "ld.global.b32 %r11, [%rd5+512];\n"
                       "add.s32 %r11, %r11, %r8;\n"
                       "add.s64 %rd6, %rd1, %rd2;\n"
                       "st.global.b32 [%rd6], %r11;\n"
                       "add.s32 %r4, %r4, 4;\n"
                       "setp.lt.u32 %p2, %r4, 8;\n@%p2 bra $item;",
                       2),
            {64},
            {1},
            Words(128),
            Words(256)};
  for (uint32_t i = 0; i < 128; ++i)
    s.input[i] = i * i + 7;
  for (uint32_t item = 0; item < 8; ++item) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 16; ++i)
      sum += s.input[item * 16 + i];
    for (uint32_t i = 0; i < 16; ++i)
      s.expected[item * 16 + i] = s.input[item * 16 + i] + sum;
    s.expected[128 + item * 16] = sum;
  }
  return s;
}

/// Keeps the odd words, in order: ballot, popcount, one counter for each warp.
Subject compact() {
  Subject s{"compact",
            kernelText("mul.wide.u32 %rd2, %r0, 4;\n"
                       "add.s64 %rd3, %rd0, %rd2;\n"
                       "ld.global.b32 %r1, [%rd3];\nand.b32 %r2, %r1, 1;\n"
                       "setp.eq.b32 %p1, %r2, 1;\n"
                       "vote.sync.ballot.b32 %r3, %p1, -1;\n"
                       "popc.b32 %r4, %r3;\nmov.u32 %r5, %warpid;\n"
                       "mul.wide.u32 %rd4, %r5, 4;\nmov.u64 %rd5, counts;\n"
                       "add.s64 %rd6, %rd5, %rd4;\nmov.u32 %r6, %laneid;\n"
                       "setp.eq.b32 %p2, %r6, 0;\n"
                       "@%p2 st.shared.b32 [%rd6], %r4;\n"
                       "bar.sync 0;\n"
                       "mov.b32 %r7, 0;\nmov.b32 %r8, 0;\n"
                       "$sum:\n"
                       "setp.ge.u32 %p3, %r8, %r5;\n@%p3 bra $summed;\n"
                       "ld.shared.b32 %r9, [%rd5];\nadd.s32 %r7, %r7, %r9;\n"
                       "add.s64 %rd5, %rd5, 4;\nadd.s32 %r8, %r8, 1;\n"
                       "bra $sum;\n"
                       "$summed:\n"
                       "mov.u32 %r10, %lanemask_lt;\nand.b32 %r11, %r3, %r10;\n"
                       "popc.b32 %r12, %r11;\nadd.s32 %r12, %r12, %r7;\n"
                       "mul.wide.u32 %rd7, %r12, 4;\n"
                       "add.s64 %rd8, %rd1, %rd7;\n"
                       "@%p1 st.global.b32 [%rd8], %r1;",
                       2, ".shared .align 16 .b8 counts[16];"),
            {96},
            {1},
            Words(96),
            Words(96)};
  size_t kept = 0;
  for (uint32_t i = 0; i < 96; ++i) {
    s.input[i] = i * i % 251; // as many odd ones in no two warps
    if (s.input[i] % 2)
      s.expected[kept++] = s.input[i];
  }
  return s;
}

/// Transposes a 16 x 16 matrix of words in tiles of two CTAs, 16 bytes a load.
Subject transpose() {
  Subject s{"transpose",
            kernelText("mov.u32 %r1, %ctaid.x;\nshl.b32 %r2, %r1, 5;\n"
                       "add.s32 %r3, %r2, %r0;\n" // of 64 quads
                       "mul.wide.u32 %rd2, %r3, 16;\n"
                       "add.s64 %rd3, %rd0, %rd2;\n"
                       "ld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%rd3];\n"
                       "shr.u32 %r8, %r3, 2;\nand.b32 %r9, %r3, 3;\n"
                       "shl.b32 %r10, %r9, 6;\nadd.s32 %r11, %r10, %r8;\n"
                       "mul.wide.u32 %rd4, %r11, 4;\n"
                       "add.s64 %rd5, %rd1, %rd4;\n"
                       "st.global.b32 [%rd5], %r4;\n"
                       "st.global.b32 [%rd5+64], %r5;\n"
                       "st.global.b32 [%rd5+128], %r6;\n"
                       "st.global.b32 [%rd5+192], %r7;",
                       2),
            {32},
            {2},
            Words(256),
            Words(256)};
  for (uint32_t i = 0; i < 256; ++i) {
    s.input[i] = i + 1;
    s.expected[i % 16 * 16 + i / 16] = i + 1;
  }
  return s;
}

/// Dot products of bytes: half a warp a row of 16 x 16 bytes, rows in turns.
Subject dots() {
  Subject s{
      "dots",
      kernelText("and.b32 %r1, %r0, 15;\nand.b32 %r2, %r0, 16;\n"
                 "shl.b32 %r3, 0xffff, %r2;\nmov.u32 %r4, %ctaid.x;\n"
                 "shr.u32 %r5, %r0, 4;\nmad.lo.s32 %r5, %r4, 4, %r5;\n"
                 "setp.eq.b32 %p1, %r1, 0;\nshl.b32 %r6, %r1, 4;\n"
                 "cvt.u64.u32 %rd2, %r6;\nadd.s64 %rd3, %rd0, %rd2;\n"
                 "ld.global.nc.v4.b32 {%r10, %r11, %r12, %r13}, [%rd3+4096];\n"
                 "$row:\nsetp.gt.u32 %p2, %r5, 15;\n@%p2 bra $done;\n"
                 "shl.b32 %r7, %r5, 8;\ncvt.u64.u32 %rd4, %r7;\n"
                 "add.s64 %rd5, %rd3, %rd4;\n"
                 "ld.global.nc.v2.b32 {%r14, %r15}, [%rd5];\n"
                 "ld.global.nc.v2.b32 {%r16, %r17}, [%rd5+8];\n"
                 "mov.b32 %r20, 0;\n"
                 "dp4a.u32.s32 %r20, %r14, %r10, %r20;\n"
                 "dp4a.u32.s32 %r20, %r15, %r11, %r20;\n"
                 "dp4a.u32.s32 %r20, %r16, %r12, %r20;\n"
                 "dp4a.u32.s32 %r20, %r17, %r13, %r20;\n"
                 "shfl.sync.bfly.b32 %r21, %r20, 8, 0x101f, %r3;\n"
                 "add.s32 %r20, %r20, %r21;\n"
                 "shfl.sync.bfly.b32 %r21, %r20, 4, 0x101f, %r3;\n"
                 "add.s32 %r20, %r20, %r21;\n"
                 "shfl.sync.bfly.b32 %r21, %r20, 2, 0x101f, %r3;\n"
                 "add.s32 %r20, %r20, %r21;\n"
                 "shfl.sync.bfly.b32 %r21, %r20, 1, 0x101f, %r3;\n"
                 "add.s32 %r20, %r20, %r21;\n"
                 "mul.wide.u32 %rd6, %r5, 4;\nadd.s64 %rd7, %rd1, %rd6;\n"
                 "add.s32 %r22, %r20, %r1;\n"
                 "@%p1 st.global.b32 [%rd7], %r22;\n"
                 "add.s32 %r5, %r5, 8;\nbra $row;\n$done:",
                 2),
      {64},
      {2},
      Words(1088),
      Words(16)};
  for (uint32_t i = 0; i < 1088; ++i)
    s.input[i] = i * 2654435761u;
  auto byte = [&](uint32_t i) { return s.input[i / 4] >> (8 * (i % 4)) & 255; };
  for (uint32_t row = 0; row < 16; ++row)
    for (uint32_t i = 0; i < 256; ++i)
      s.expected[row] +=
          byte(row * 256 + i) * uint32_t(int32_t(int8_t(byte(4096 + i))));
  return s;
}

/// Sums of all words up to each: shuffles up, sums of warps in shared memory
/// that is used twice.
Subject scan() {
  std::string steps;
  for (const char *by : {"1", "2", "4", "8", "16"})
    steps += std::string("shfl.sync.up.b32 %r3|%p1, %r2, ") + by +
             ", 0, -1;\n@%p1 add.s32 %r2, %r2, %r3;\n";
  Subject s{"scan",
            kernelText("mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd0, %rd2;\n"
                       "add.s64 %rd4, %rd1, %rd2;\nmov.u32 %r4, %laneid;\n"
                       "mov.u32 %r5, %warpid;\nmov.u64 %rd5, sums;\n"
                       "mul.wide.u32 %rd6, %r5, 4;\n"
                       "add.s64 %rd7, %rd5, %rd6;\n"
                       "setp.eq.b32 %p2, %r4, 31;\nsetp.gt.u32 %p3, %r5, 0;\n"
                       "mov.b32 %r6, 0;\n"
                       "$half:\nld.global.b32 %r2, [%rd3];\n" +
                           steps +
                           "@%p2 st.shared.b32 [%rd7], %r2;\nbar.sync 0;\n"
                           "@!%p3 bra $first;\n"
                           "ld.shared.b32 %r7, [%rd5];\n"
                           "add.s32 %r2, %r2, %r7;\n$first:\n"
                           "st.global.b32 [%rd4], %r2;\nbar.sync 0;\n"
                           "add.s64 %rd3, %rd3, 256;\n"
                           "add.s64 %rd4, %rd4, 256;\nadd.s32 %r6, %r6, 1;\n"
                           "setp.lt.u32 %p4, %r6, 2;\n@%p4 bra $half;",
                       2, ".shared .align 16 .b8 sums[8];"),
            {64},
            {1},
            Words(128),
            Words(128)};
  for (uint32_t i = 0; i < 128; ++i) {
    s.input[i] = i * i + 3;
    s.expected[i] = s.input[i] + (i % 64 ? s.expected[i - 1] : 0);
  }
  return s;
}

/// Three schedules: in order, and two at random.
Fate fateOf(const Subject &subject, const std::string &ptx) {
  bool wrong = false;
  for (uint32_t seed : {0u, 5u, 9u}) {
    Sim sim(ptx, true, seed, 100'000);
    uint64_t in = sim.buffer(subject.input);
    uint64_t out = sim.buffer(Words(subject.expected.size()));
    if (!sim.launch({in, out}, subject.block, subject.grid).empty() ||
        !sim.findings().empty())
      return Fate::Reported;
    wrong |=
        sim.read<uint32_t>(out, subject.expected.size()) != subject.expected;
  }
  return wrong ? Fate::Wrong : Fate::Survived;
}

std::vector<Subject> subjects() {
  return {reverse(), halfWarps(), compact(), transpose(), dots(), scan()};
}

std::vector<std::string> sorted(const std::string &lines) {
  std::vector<std::string> all;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);)
    all.push_back(line);
  std::sort(all.begin(), all.end());
  return all;
}

TEST(Mutants, TheKernelsThemselvesAreClean) {
  for (const Subject &subject : subjects())
    EXPECT_EQ(fateOf(subject, subject.ptx), Fate::Survived) << subject.name;
}

/// Mutants that are the same program, by what they change.
const std::map<std::string, const char *> equivalent = {
    {"half warps: barrier deleted: bar.warp.sync %r3;",
     "the first of two: nobody has touched what is stored after it"},
    {"compact: comparison: setp.eq.b32 %p2, %r6, 0;",
     "the other 31 lanes store the same count"},
    {"compact: predicate flipped: @%p2 st.shared.b32 [%rd6], %r4;",
     "the other 31 lanes store the same count"},
    // Lane 0 gets the sum of all lanes by any four masks that span 16 lanes.
    {"dots: shuffle lane: shfl.sync.bfly.b32 %r21, %r20, 8, 0x101f, %r3;",
     "8 xor 1, 4, 2, 1 span the same lanes"},
    {"dots: shuffle lane: shfl.sync.bfly.b32 %r21, %r20, 4, 0x101f, %r3;",
     "8, 4 xor 1, 2, 1 span the same lanes"},
    {"dots: shuffle lane: shfl.sync.bfly.b32 %r21, %r20, 2, 0x101f, %r3;",
     "8, 4, 2 xor 1, 1 span the same lanes"}};

TEST(Mutants, AreFoundUnlessTheyAreTheSameProgram) {
  MutantTable table;
  std::string found;
  for (const Subject &subject : subjects())
    for (const Mutation &mutation : mutationsOf(subject.ptx)) {
      Fate fate = fateOf(subject, mutated(subject.ptx, mutation));
      table.add(mutation, fate);
      if (fate == Fate::Survived)
        found += std::string(subject.name) + ": " + mutation.kind + ": " +
                 mutation.before + "\n";
    }
  std::printf("%s", table.text().c_str());
  EXPECT_GE(table.total().mutants, 100);
  // No more survive, and each of these still does: the list is not a wish.
  std::string expected;
  for (const Subject &subject : subjects())
    for (auto &[key, reason] : equivalent)
      if (key.rfind(std::string(subject.name) + ":", 0) == 0)
        expected += key + "\n";
  EXPECT_EQ(sorted(found), sorted(expected));
}

TEST(Mutants, AreWhatTheyAreCalled) {
  std::string text = "@%p1 bra $a;\nbar.warp.sync %r3;\n"
                     "ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%rd1];\n"
                     "st.shared.b16 [%rd2+-6], %h1;\n"
                     "shfl.sync.down.b32 %r1, %r2, 8, 31, %r3;\n"
                     "setp.lt.u32 %p1, %r1, 7;\n";
  std::string got;
  for (const Mutation &m : mutationsOf(text))
    got += m.kind + ": " + m.after + "\n";
  EXPECT_EQ(got, "predicate flipped: @!%p1 bra $a;\n"
                 "barrier deleted: \n"
                 "offset shifted: ld.global.v4.b32 {%r1, %r2, %r3, %r4}, "
                 "[%rd1+16];\n"
                 "offset misaligned: ld.global.v4.b32 {%r1, %r2, %r3, %r4}, "
                 "[%rd1+8];\n"
                 "store deleted: \n"
                 "offset shifted: st.shared.b16 [%rd2+-4], %h1;\n"
                 "offset misaligned: st.shared.b16 [%rd2+-5], %h1;\n"
                 "shuffle lane: shfl.sync.down.b32 %r1, %r2, 9, 31, %r3;\n"
                 "comparison: setp.le.u32 %p1, %r1, 7;\n");
  EXPECT_EQ(mutated(text, mutationsOf(text)[1]).substr(0, 14),
            "@%p1 bra $a;\n\n");
}

} // namespace

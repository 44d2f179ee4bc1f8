// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX that the simulator does not know or that is broken: one line that names
// the place.
#include "SimTest.h"

using namespace ee::gpu;

namespace {

std::string loadError(const std::string &text) { return Sim(text).loadError; }

/// Expects that `body` in a kernel is refused with a line that has `part`.
void refused(const std::string &body, const std::string &part) {
  std::string error = loadError(kernelText(body, 1));
  EXPECT_TRUE(contains(error, part)) << body << " gave: " << error;
  EXPECT_EQ(error.find('\n'), error.npos);
  EXPECT_TRUE(contains(error, "PTX line ")) << error;
}

TEST(SimParser, NamesTheInstructionThatItDoesNotKnow) {
  refused("frobnicate.b32 %r1, %r2;", "frobnicate.b32");
  refused("ex2.approx.f32 %f1, %f2;", "ex2.approx.f32");
  refused("add.rn.ftz.f32 %f1, %f2, %f3;", "add.rn.ftz.f32");
  refused("div.approx.f32 %f1, %f2, %f3;", "div.approx.f32");
  refused("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f0}, {%r1}, "
          "{%r2}, {%f1};",
          "m8n8k4");
  refused("call.uni vprintf;", "calls are not supported");
  refused("bar.sync 1;", "only barrier 0");
  refused("bar.arrive 0, 64;", "only the form .sync");
  refused("ld.global.b128 %rd1, [%rd0];", "a type is missing");
  refused("ld.global.foo.b32 %r1, [%rd0];", ".foo");
  refused("atom.global.add.f16 %h1, [%rd0], %h2;", "16 bits");
  refused(".frob 3;", ".frob");
}

TEST(SimParser, NamesWhatIsWrongWithAnOperand) {
  refused("add.s32 %r1, %r2;", "2 operands where 3 are expected");
  refused("add.s32 %r1, %rd2, %r3;", "%rd2");
  refused("add.s64 %rd1, %r2, %rd3;", "32 bits or less where 64");
  refused("add.s32 %r1, %r2, %x3;", "\"%x3\" is not defined");
  refused("add.s32 5, %r2, %r3;", "not a register to write");
  refused("mov.u32 %tid.x, %r1;", "not a register to write");
  refused("setp.eq.b32 %r1, %r2, %r3;", "not a predicate to write");
  refused("@%r1 mov.b32 %r1, %r2;", "not a predicate");
  refused("ld.global.v2.b32 %r1, [%rd0];", "1 elements where 2 are expected");
  refused("ld.global.b32 %r1, %rd0;", "not an address");
  refused("ld.param.b64 %rd1, [p9];", "not an address");
  refused("ld.param.b64 %rd1, [p0+8];", "past the last parameter");
  refused("bra $nowhere;", "$nowhere");
  refused("brx.idx %r1, $nothing;", "$nothing");
  refused("$a: mov.b32 %r1, 0;\n$a: mov.b32 %r1, 1;", "defined twice");
  refused("mov.b32 %r1, 0x;", "is no number");
  refused("mov.b32 %r1, 12ab;", "is no number");
  refused("mov.b32 %r1, 99999999999999999999999;", "is no number");
  refused("cp.async.ca.shared.global [%rd1], [%rd2], 3;", "4, 8 or 16");
}

TEST(SimParser, BoundsWhatADeclarationCanAskFor) {
  refused(".reg .b32 %x<4000000000>;", "at most 1048576");
  refused(".reg .b64 %x<1000000>;", "too many registers");
  refused(".reg .b32 %r<2>;", "defined twice");
  refused(".shared .align 4 .b8 s[300000];", "at most 232448 bytes");
  refused(".shared .align 3 .b8 s[4];", "power of two");
  refused(".local .align 4 .b8 s[99999999];", "at most 524288 bytes");
  refused(".local .b8 s[18446744073709551615];", "at most");
}

TEST(SimParser, RefusesBrokenText) {
  EXPECT_TRUE(contains(loadError(""), "no .target"));
  EXPECT_TRUE(contains(loadError("hello"), "a directive is expected"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n.address_size 32"), "64"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n.entry k() {"), "too early"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n/* no end"), "comment"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n.file 1 \"a"), "string"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n\x01"), "\\x01"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n.entry k() {}\n.entry k() {}"),
                       "twice"));
  EXPECT_TRUE(contains(
      loadError(".target sm_80\n.global .b32 v[2] = {1, 2, 3};"), "too many"));
  EXPECT_TRUE(contains(loadError(".target sm_80\n.entry k(.param .b8 "
                                 "p[40000]) {}"),
                       "32764"));
}

/// Every prefix of a kernel is broken or whole, and never crashes.
TEST(SimParser, SurvivesEveryCut) {
  std::string text = kernelText(
      "$a: ld.global.v2.b32 {%r1, %r2}, [%rd0+-8];\n@!%p1 bra $a;\n"
      "shfl.sync.down.b32 %r1|%p1, %r2, 1, 31, -1;\nmov.b64 %rd1, {%r1, %r2};",
      1, ".global .align 4 .b8 t[2] = {1, 2};\n.file 1 \"a.c\"");
  ASSERT_EQ(loadError(text), "");
  for (size_t length = 0; length < text.size(); ++length)
    EXPECT_EQ(loadError(text.substr(0, length)).find('\n'), std::string::npos);
}

} // namespace

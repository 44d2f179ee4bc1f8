// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Branches, barriers and what lanes of a warp do together; see decode.h.
#include "decode.h"

#include "ee/file.h"

namespace ee::gpu {

void Decoder::branch() {
  out.kind = Kind::Branch;
  take("uni");
  done();
  count(1);
  builder.branchTo(argument(0).name, out.line);
  push();
}

void Decoder::branchIndexed() {
  out.kind = Kind::IndexedBranch;
  take("uni");
  if (!take("idx"))
    fail("only brx.idx is supported");
  done();
  count(2);
  out.a = value(argument(0), false);
  builder.tableAt(argument(1).name, out.line);
  push();
}

void Decoder::end() {
  out.kind = Kind::Exit;
  take("uni");
  done();
  count(0);
  push();
}

void Decoder::trap() {
  out.flagA = true;
  end();
}

void Decoder::ignored() {
  out.kind = Kind::Fence;
  push();
}

void Decoder::call() {
  fail("calls are not supported: kernels call no functions");
}

void Decoder::barrier() {
  if (take("warp")) {
    take("sync");
    done();
    count(1);
    out.kind = Kind::WarpBarrier;
    out.b = value(argument(0), false);
    return push();
  }
  out.kind = Kind::CtaBarrier;
  take("cta");
  if (!take("sync"))
    fail("only the form .sync is supported");
  takeAny({"aligned", "all"});
  done();
  count(1);
  if (argument(0).kind != Argument::Immediate || argument(0).value != 0)
    fail("only barrier 0 of all threads is supported");
  push();
}

void Decoder::shuffle() {
  out.kind = Kind::Shuffle;
  take("sync");
  out.mode = takeOne<Mode>({{"bfly", Mode::Butterfly},
                            {"down", Mode::Down},
                            {"up", Mode::Up},
                            {"idx", Mode::Index}},
                           "the direction");
  if (!take("b32"))
    fail("type .b32 is expected");
  done();
  count(5);
  out.d = result(argument(0), false);
  if (argument(0).hasSecond) {
    out.hasQ = true;
    out.q = argument(0).second;
  }
  out.a = value(argument(1), false);
  out.c = value(argument(2), false);
  out.e = value(argument(3), false);
  out.b = value(argument(4), false); // the lanes that take part
  push();
}

void Decoder::vote() {
  out.kind = Kind::Vote;
  take("sync");
  out.mode = takeOne<Mode>({{"ballot", Mode::Ballot},
                            {"any", Mode::Any},
                            {"all", Mode::All},
                            {"uni", Mode::Uniform}},
                           "the operation");
  takeAny({"b32", "pred"});
  done();
  count(3);
  if (out.mode == Mode::Ballot)
    out.d = result(argument(0), false);
  else
    out.q = predicateResult(argument(0));
  out.p = predicate(argument(1));
  out.b = value(argument(2), false);
  push();
}

void Decoder::reduce() {
  out.kind = Kind::Reduce;
  take("sync");
  out.mode = takeOne<Mode>({{"add", Mode::Add},
                            {"min", Mode::Min},
                            {"max", Mode::Max},
                            {"and", Mode::And},
                            {"or", Mode::Or},
                            {"xor", Mode::Xor}},
                           "the operation");
  takeType();
  if (out.bytes != 4 || out.isFloat)
    fail("type .u32, .s32 or .b32 is expected");
  done();
  count(3);
  out.d = result(argument(0), false);
  out.a = value(argument(1), false);
  out.b = value(argument(2), false);
  push();
}

void Decoder::activeMask() {
  out.kind = Kind::ActiveMask;
  take("b32");
  done();
  count(1);
  out.d = result(argument(0), false);
  push();
}

void Decoder::loadMatrix() {
  out.kind = Kind::LoadMatrix;
  takeAny({"sync", "aligned", "shared", "shared::cta", "b16"});
  if (!take("m8n8"))
    fail("only .m8n8 is supported");
  out.elements = take("x4") ? 4 : take("x2") ? 2 : take("x1") ? 1 : 0;
  out.flagA = take("trans");
  if (out.elements == 0)
    fail(".x1, .x2 or .x4 is expected");
  done();
  count(2);
  out.space = Space::Shared;
  out.b = builder.constant(allLanes, false);
  out.refs = fragments(argument(0), out.elements, true);
  address(argument(1), out.a, out.displacement);
  push();
}

void Decoder::multiplyMatrix() {
  out.kind = Kind::MultiplyMatrix;
  std::string_view opcode = statement.opcode;
  const std::string floats = "mma.sync.aligned.m16n8k16.row.col.f32.";
  const std::string bytes = "mma.sync.aligned.m16n8k32.row.col.s32.";
  if (opcode == floats + "f16.f16.f32")
    out.mode = Mode::F16;
  else if (opcode == floats + "bf16.bf16.f32")
    out.mode = Mode::BF16;
  for (bool a : {false, true})
    for (bool b : {false, true})
      if (opcode == bytes + (a ? "s8" : "u8") + (b ? ".s8" : ".u8") + ".s32") {
        out.mode = Mode::Integer;
        out.flagA = a; // its bytes are signed
        out.flagB = b;
      }
  if (out.mode == Mode::None)
    fail("the simulator does not know this instruction");
  count(4);
  out.b = builder.constant(allLanes, false);
  // Results, then the fragments of A, B and C, one after the other.
  out.refs = fragments(argument(0), 4, true);
  fragments(argument(1), 4, false);
  fragments(argument(2), 2, false);
  fragments(argument(3), 4, false);
  push();
}

} // namespace ee::gpu

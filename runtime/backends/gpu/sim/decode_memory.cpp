// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loads, stores, atomics, fences and asynchronous copies; see decode.h.
#include "decode.h"

#include "ee/file.h"

namespace ee::gpu {

void Decoder::takeType() {
  struct Kinded {
    std::string_view name;
    uint8_t bytes;
    bool isSigned, isFloat;
  };
  static const Kinded types[] = {
      {"b8", 1, false, false},  {"u8", 1, false, false},
      {"s8", 1, true, false},   {"b16", 2, false, false},
      {"u16", 2, false, false}, {"s16", 2, true, false},
      {"f16", 2, false, true},  {"bf16", 2, false, true},
      {"b32", 4, false, false}, {"u32", 4, false, false},
      {"s32", 4, true, false},  {"f32", 4, false, true},
      {"b64", 8, false, false}, {"u64", 8, false, false},
      {"s64", 8, true, false},  {"f64", 8, false, true},
  };
  for (const Kinded &type : types)
    if (take(type.name)) {
      out.bytes = type.bytes;
      out.isSigned = type.isSigned;
      out.isFloat = type.isFloat;
      return;
    }
  fail("a type is missing");
}

void Decoder::takeSpace() {
  if (take("global"))
    out.space = Space::Global;
  else if (take("shared") || take("shared::cta"))
    out.space = Space::Shared;
  else if (take("local"))
    out.space = Space::Local;
  else if (take("const"))
    out.space = Space::Constant;
}

/// Memory order and scope. The simulator's memory is sequentially consistent;
/// what orders CTAs is remembered for the checks.
void Decoder::takeOrder() {
  for (const char *order : {"acquire", "release", "acq_rel", "sc"})
    builder.kernel.fences |= take(order);
  takeAny({"weak", "relaxed", "volatile"});
  takeAny({"cta", "cluster", "gpu", "sys"});
}

void Decoder::address(const Argument &from, Ref &base,
                      int64_t &displacement) const {
  if (from.kind != Argument::Address)
    fail("operand " + inQuotes(from.name) + " is not an address");
  base = from.ref;
  displacement = from.displacement;
}

void Decoder::vectorOrElement(const Argument &from, bool written) {
  out.elements = take("v8") ? 8 : take("v4") ? 4 : take("v2") ? 2 : 1;
  takeType();
  done();
  out.refs = fragments(from, out.elements, written);
}

void Decoder::load() {
  count(2);
  if (take("param"))
    return loadParameter();
  out.kind = Kind::Load;
  takeOrder();
  takeSpace();
  out.nonCoherent = take("nc");
  takeAny({"ca", "cg", "cs", "lu", "cv", "L1::no_allocate", "L1::evict_last",
           "L1::evict_first", "L1::evict_normal", "L1::evict_unchanged",
           "L2::64B", "L2::128B", "L2::256B"});
  vectorOrElement(argument(0), true);
  address(argument(1), out.a, out.displacement);
  push();
}

void Decoder::loadParameter() {
  out.kind = Kind::LoadParameter;
  vectorOrElement(argument(0), true);
  const Argument &from = argument(1);
  if (from.kind != Argument::Parameter)
    fail("operand " + inQuotes(from.name) + " is not a parameter");
  uint64_t offset = from.value + uint64_t(from.displacement);
  if (offset + out.bytes * out.elements > builder.kernel.parameterBytes)
    fail("reads past the last parameter");
  out.displacement = int64_t(offset);
  push();
}

void Decoder::store() {
  count(2);
  out.kind = Kind::Store;
  takeOrder();
  takeSpace();
  takeAny({"wb", "cg", "cs", "wt", "L1::no_allocate", "L1::evict_last",
           "L1::evict_first", "L1::evict_normal"});
  vectorOrElement(argument(1), false);
  address(argument(0), out.a, out.displacement);
  push();
}

void Decoder::atomic(bool hasResult) {
  out.kind = Kind::Atomic;
  out.hasResult = hasResult;
  takeOrder();
  takeSpace();
  out.mode = takeOne<Mode>({{"add", Mode::Add},
                            {"min", Mode::Min},
                            {"max", Mode::Max},
                            {"and", Mode::And},
                            {"or", Mode::Or},
                            {"xor", Mode::Xor},
                            {"exch", Mode::Exchange},
                            {"cas", Mode::CompareSwap},
                            {"inc", Mode::Increment},
                            {"dec", Mode::Decrement}},
                           "the operation");
  takeType();
  done();
  if (out.bytes < 4)
    fail("atomics of 16 bits are not supported");
  size_t at = hasResult ? 1 : 0;
  count(at + (out.mode == Mode::CompareSwap ? 3 : 2));
  bool wide = out.bytes == 8;
  if (hasResult)
    out.d = element(argument(0), true);
  address(argument(at), out.a, out.displacement);
  out.b = value(argument(at + 1), wide);
  if (out.mode == Mode::CompareSwap)
    out.c = value(argument(at + 2), wide);
  push();
}

void Decoder::fence() {
  count(0);
  out.kind = Kind::Fence;
  takeAny({"sc", "acq_rel", "proxy", "async", "alias"});
  if (take("gl") || take("gpu") || take("sys") || take("cluster"))
    builder.kernel.fences = true;
  take("cta");
  done();
  push();
}

void Decoder::copyAsync() {
  if (!take("async"))
    fail("only cp.async is supported");
  if (take("commit_group")) {
    out.kind = Kind::CopyCommit;
    count(0);
  } else if (take("wait_all")) {
    out.kind = Kind::CopyWait;
    out.target = 0;
    out.flagA = true; // also what is not committed yet
    count(0);
  } else if (take("wait_group")) {
    out.kind = Kind::CopyWait;
    count(1);
    if (argument(0).kind != Argument::Immediate || argument(0).value > 1 << 20)
      fail("the number of groups is not a number");
    out.target = int32_t(argument(0).value);
  } else {
    out.kind = Kind::CopyAsync;
    takeAny(
        {"ca", "cg", "shared", "global", "L2::128B", "L2::64B", "L2::256B"});
    count(3);
    address(argument(0), out.d, out.displacement2);
    address(argument(1), out.a, out.displacement);
    uint64_t bytes = argument(2).value;
    if (argument(2).kind != Argument::Immediate ||
        (bytes != 4 && bytes != 8 && bytes != 16))
      fail("copies 4, 8 or 16 bytes");
    out.bytes = uint8_t(bytes);
  }
  done();
  push();
}

} // namespace ee::gpu

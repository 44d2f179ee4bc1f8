// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What all instructions share: modifiers, operands, register instructions and
// moves; see decode.h.
#include "decode.h"

#include "ee/file.h"
#include "lanes.h"

#include <algorithm>

namespace ee::gpu {

Decoder::Decoder(KernelBuilder &builder, const Statement &statement)
    : builder(builder), statement(statement), out(statement.base) {
  std::string_view rest = statement.opcode;
  while (true) {
    size_t dot = rest.find('.');
    parts.push_back(rest.substr(0, dot));
    if (dot == rest.npos)
      break;
    rest.remove_prefix(dot + 1);
  }
}

void Decoder::fail(const std::string &why) const {
  throw PtxError(out.line, inQuotes(statement.opcode) + ": " + why);
}

bool Decoder::take(std::string_view modifier) {
  auto it = std::find(parts.begin() + 1, parts.end(), modifier);
  if (it == parts.end())
    return false;
  parts.erase(it);
  return true;
}

void Decoder::takeAny(std::initializer_list<std::string_view> modifiers) {
  for (std::string_view modifier : modifiers)
    take(modifier);
}

void Decoder::done() const {
  if (parts.size() > 1)
    fail("the simulator does not know ." + std::string(parts[1]) + " here");
}

const Argument &Decoder::argument(size_t index) const {
  if (index >= statement.arguments.size())
    fail("an operand is missing");
  return statement.arguments[index];
}

void Decoder::count(size_t operands) const {
  if (statement.arguments.size() != operands)
    fail("has " + std::to_string(statement.arguments.size()) +
         " operands where " + std::to_string(operands) + " are expected");
}

Ref Decoder::value(const Argument &from, bool wide) const {
  if (from.kind == Argument::Immediate)
    return builder.constant(from.value, wide);
  if (from.kind != Argument::Register)
    fail("operand " + inQuotes(from.name) + " is not a register or number");
  if (from.ref.wide() != wide)
    fail("operand " + inQuotes(from.name) + " has " +
         (wide ? "32 bits or less where 64 are expected"
               : "64 bits where 32 or less are expected"));
  return from.ref;
}

Ref Decoder::element(const Argument &from, bool written) const {
  if (from.kind == Argument::Immediate && !written)
    return builder.constant(from.value, out.bytes == 8);
  if (from.kind == Argument::Sink && written) // its value goes nowhere
    return builder.newRegister(out.bytes == 8);
  if (from.kind != Argument::Register)
    fail("operand " + inQuotes(from.name) + " is not a register");
  if (out.bytes == 8 && !from.ref.wide())
    fail("operand " + inQuotes(from.name) +
         " has 32 bits or less where 64 are expected");
  return written ? result(from, from.ref.wide()) : from.ref;
}

Ref Decoder::result(const Argument &to, bool wide) const {
  if (to.kind != Argument::Register ||
      to.ref.offset() < specialRegister(SpecialCount).offset())
    fail("operand " + inQuotes(to.name) + " is not a register to write");
  return value(to, wide);
}

PredicateRef Decoder::predicate(const Argument &from) const {
  if (from.kind == Argument::Immediate)
    return {from.value != 0 ? 1u : 0u, false};
  if (from.kind != Argument::Predicate)
    fail("operand " + inQuotes(from.name) + " is not a predicate");
  return from.predicate;
}

PredicateRef Decoder::predicateResult(const Argument &to) const {
  if (to.kind != Argument::Predicate || to.predicate.inverted)
    fail("operand " + inQuotes(to.name) + " is not a predicate to write");
  return to.predicate;
}

void Decoder::push() { builder.kernel.code.push_back(out); }

void Decoder::laneOp() {
  const LaneOps &ops = laneOps();
  auto it = ops.find(std::string(statement.opcode));
  if (it == ops.end())
    fail("the simulator does not know this instruction");
  const std::string &shape = it->second.shape;
  count(shape.size());
  out.kind = Kind::Lane;
  out.run = it->second.run;
  if (argument(0).hasSecond)
    fail("a second result is not supported");
  if (shape[0] == 'p')
    out.q = predicateResult(argument(0));
  else
    out.d = result(argument(0), shape[0] == '8');
  Ref *sources[] = {&out.a, &out.b, &out.c, &out.e};
  bool first = true;
  for (size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] != 'p') {
      *sources[i - 1] = value(argument(i), shape[i] == '8');
      continue;
    }
    (first ? out.p : out.r) = predicate(argument(i));
    first = false;
  }
  push();
}

uint32_t Decoder::fragments(const Argument &from, size_t expected,
                            bool written) {
  // A single register stands for a vector of one.
  std::vector<Argument> one{from};
  const auto &elements = from.kind == Argument::Vector ? from.elements : one;
  if (elements.size() != expected)
    fail("operand " + inQuotes(from.name) + " has " +
         std::to_string(elements.size()) + " elements where " +
         std::to_string(expected) + " are expected");
  uint32_t first = uint32_t(builder.kernel.refs.size());
  for (const Argument &each : elements)
    builder.kernel.refs.push_back(element(each, written));
  return first;
}

namespace {

uint64_t partMask(const Instruction &in) {
  return in.bytes == 4 ? 0xffff'ffff : (uint64_t(1) << (8 * in.bytes)) - 1;
}

/// mov.b64 d, {a, b}: the first element is the lowest part.
void pack(Lanes &lanes, const Instruction &in, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = std::countr_zero(mask);
    uint64_t value = 0;
    for (uint32_t i = 0; i < in.elements; ++i)
      value |=
          (lanes.in<uint32_t>(lanes.refs[in.refs + i])[lane] & partMask(in))
          << (i * in.bytes * 8);
    if (in.d.wide())
      lanes.out<uint64_t>(in.d)[lane] = value;
    else
      lanes.out<uint32_t>(in.d)[lane] = uint32_t(value);
  }
}

void unpack(Lanes &lanes, const Instruction &in, uint32_t mask) {
  for (; mask; mask &= mask - 1) {
    int lane = std::countr_zero(mask);
    uint64_t value = in.a.wide() ? lanes.in<uint64_t>(in.a)[lane]
                                 : lanes.in<uint32_t>(in.a)[lane];
    for (uint32_t i = 0; i < in.elements; ++i)
      lanes.out<uint32_t>(lanes.refs[in.refs + i])[lane] =
          uint32_t((value >> (i * in.bytes * 8)) & partMask(in));
  }
}

} // namespace

void Decoder::move() {
  count(2);
  bool packs = argument(1).kind == Argument::Vector;
  if (!packs && argument(0).kind != Argument::Vector)
    return laneOp();
  bool wide = take("b64");
  if (!wide && !take("b32"))
    fail("a move of parts has type .b32 or .b64");
  done();
  const Argument &parts = argument(packs ? 1 : 0);
  out.elements = uint8_t(parts.elements.size());
  if (out.elements != 2 && out.elements != (wide ? 4 : 2))
    fail("operand " + inQuotes(parts.name) + " has a wrong number of parts");
  out.bytes = uint8_t((wide ? 8 : 4) / out.elements);
  out.refs = fragments(parts, out.elements, !packs);
  out.kind = Kind::Lane;
  out.run = packs ? pack : unpack;
  if (packs)
    out.d = result(argument(0), wide);
  else
    out.a = value(argument(1), wide);
  push();
}

void Decoder::convertAddress() {
  // All windows are generic addresses already.
  count(2);
  take("to");
  takeAny({"global", "shared", "local", "const"});
  bool wide = take("u64");
  if (!wide && !take("u32"))
    fail("type .u64 or .u32 is expected");
  done();
  out.kind = Kind::Lane;
  out.run = laneOps().at(wide ? "mov.u64" : "mov.u32").run;
  out.d = result(argument(0), wide);
  out.a = value(argument(1), wide);
  push();
}

void decode(KernelBuilder &builder, const Statement &statement) {
  Decoder(builder, statement).run();
}

void Decoder::run() {
  using Member = void (Decoder::*)();
  static const std::unordered_map<std::string_view, Member> heads = {
      {"mov", &Decoder::move},
      {"cvta", &Decoder::convertAddress},
      {"ld", &Decoder::load},
      {"st", &Decoder::store},
      {"fence", &Decoder::fence},
      {"membar", &Decoder::fence},
      {"bra", &Decoder::branch},
      {"brx", &Decoder::branchIndexed},
      {"ret", &Decoder::end},
      {"exit", &Decoder::end},
      {"trap", &Decoder::trap},
      {"bar", &Decoder::barrier},
      {"barrier", &Decoder::barrier},
      {"shfl", &Decoder::shuffle},
      {"vote", &Decoder::vote},
      {"redux", &Decoder::reduce},
      {"activemask", &Decoder::activeMask},
      {"ldmatrix", &Decoder::loadMatrix},
      {"mma", &Decoder::multiplyMatrix},
      {"cp", &Decoder::copyAsync},
      {"prefetch", &Decoder::ignored},
      {"prefetchu", &Decoder::ignored},
      {"nanosleep", &Decoder::ignored},
      {"call", &Decoder::call},
  };
  if (parts[0] == "atom" || parts[0] == "red")
    return atomic(parts[0] == "atom");
  auto it = heads.find(parts[0]);
  it == heads.end() ? laneOp() : (this->*it->second)();
}

} // namespace ee::gpu

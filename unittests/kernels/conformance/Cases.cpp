// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The table of ops and shapes, and their inputs.

#include "Cases.h"

#include <algorithm>
#include <limits>
#include <random>

using namespace conformance;

static std::string tensor(const std::string &shape, const char *element) {
  return "tensor<" + shape + element + ">";
}

static std::string joined(const std::vector<int64_t> &shape) {
  std::string text;
  for (int64_t extent : shape)
    text += std::to_string(extent) + "x";
  return text;
}

std::string Parameter::type() const {
  switch (kind) {
  case Rows:
    return tensor("?x" + joined(shape), "f32");
  case Scalars:
    return tensor("?x", "f32");
  case Ids:
    return tensor("?x", "i32");
  case Mask:
    return tensor("?x", "i1");
  case Weight:
    return tensor(joined(shape), "f32");
  case KV:
    return "!adaptive.kv<" + std::to_string(shape[0]) + " x " +
           std::to_string(shape[1]) + ">";
  }
  return "";
}

std::string Result::type() const {
  switch (kind) {
  case Rows:
    return tensor("?x" + std::to_string(width) + "x", "f32");
  case Scalars:
    return tensor("?x", "f32");
  case Ids:
    return tensor("?x", "i32");
  case Mask:
    return tensor("?x", "i1");
  }
  return "";
}

namespace {

Parameter rows(int64_t width) { return {Parameter::Rows, {width}}; }
Parameter scalars() { return {Parameter::Scalars, {}}; }
Parameter ids(int64_t vocab) { return {Parameter::Ids, {vocab}}; }
Parameter mask() { return {Parameter::Mask, {}}; }
Parameter vector(int64_t size) { return {Parameter::Weight, {size}}; }
Parameter matrix(int64_t n, int64_t k, Format format = Format::Plain) {
  return {Parameter::Weight, {n, k}, format};
}
Parameter kv(int64_t heads, int64_t dim) {
  return {Parameter::KV, {heads, dim}};
}
Result rowsResult(int64_t width) { return {Result::Rows, width}; }
const Result scalarResult = {Result::Scalars, 1};
const Result idResult = {Result::Ids, 1};
const Result maskResult = {Result::Mask, 1};

std::string str(int64_t number) { return std::to_string(number); }

/// Rounding of rows and weights in formats with less than f32.
double tolerance(Format format) {
  return format == Format::Plain || format == Format::F32 ? 4e-6
         : format == Format::BF16                         ? 2e-2
                                                          : 4e-2;
}

using Table = std::vector<OpCase>;

void addRows(Table &table) {
  for (auto [vocab, width] : {std::pair(70, 45), std::pair(320, 64)})
    for (Format format :
         {Format::Plain, Format::F32, Format::BF16, Format::Q8, Format::Q4}) {
      Parameter a = ids(vocab), b = matrix(vocab, width, format);
      Result r = rowsResult(width);
      table.push_back({"embed",
                       str(vocab) + "x" + str(width),
                       {a, b},
                       "%r0 = adaptive.embed %a, %b : " + a.type() + ", " +
                           b.type() + " -> " + r.type(),
                       {r},
                       {},
                       0,
                       0});
    }
  for (auto [width, group] :
       {std::pair(64, 64), std::pair(90, 45), std::pair(21, 21)}) {
    Parameter a = rows(width), b = vector(group);
    table.push_back({"norm",
                     "rms " + str(width) + "/" + str(group),
                     {a, b},
                     "%r0 = adaptive.norm rms %a, %b epsilon 1.0e-5 : " +
                         a.type() + ", " + b.type(),
                     {rowsResult(width)},
                     {},
                     3e-6,
                     1e-6});
    table.push_back({"norm",
                     "layer " + str(width) + "/" + str(group),
                     {a, b, b},
                     "%r0 = adaptive.norm layer %a, %b, %c : " + b.type() +
                         " epsilon 1.0e-3 : " + a.type() + ", " + b.type(),
                     {rowsResult(width)},
                     {},
                     3e-6,
                     1e-6});
  }
  for (auto [dim, half] :
       {std::pair(64, 32), std::pair(20, 7), std::pair(48, 24)})
    for (bool interleaved : {false, true}) {
      Parameter a = rows(3 * dim), b = matrix(Inputs::positions, half);
      table.push_back({"rope",
                       str(dim) + "/" + str(half) +
                           (interleaved ? " interleaved" : " halves"),
                       {a, b, b},
                       "%r0 = adaptive.rope %a, %b, %c head_dim " + str(dim) +
                           (interleaved ? " interleaved" : "") + " : " +
                           a.type() + ", " + b.type(),
                       {rowsResult(3 * dim)},
                       {},
                       1e-6,
                       1e-6});
    }
  for (int64_t width : {2, 37, 320}) {
    Parameter a = rows(width);
    table.push_back(
        {"sample",
         "greedy " + str(width),
         {a},
         "%r0 = adaptive.sample %a : " + a.type() + " -> " + idResult.type(),
         {idResult},
         {},
         0,
         0});
    table.push_back({"copy",
                     str(width),
                     {a},
                     "%r0 = adaptive.copy %a : " + a.type(),
                     {rowsResult(width)},
                     {},
                     0,
                     0});
  }
}

/// A region over f32 arguments; `body` names them %x0, %x1, ...
std::string region(int arguments, const std::string &body) {
  std::string text = "{\n^bb0(";
  for (int i = 0; i < arguments; ++i)
    text += (i ? ", %x" : "%x") + str(i) + ": f32";
  return text + "):\n" + body + "\nadaptive.yield %y : f32\n}";
}

void addLinear(Table &table) {
  for (auto [n, k] :
       {std::pair(64, 32), std::pair(130, 77), std::pair(48, 333)})
    for (Format format : {Format::F32, Format::BF16, Format::Q8, Format::Q4}) {
      Parameter x = rows(k), w = matrix(n, k, format), bias = vector(n);
      double off = tolerance(format);
      std::string shape = str(n) + "x" + str(k) + " " +
                          adaptive::kernels::formatName(format).str();
      std::string types = x.type() + ", (" + w.type();
      table.push_back({"linear",
                       shape,
                       {x, w},
                       "%r0 = adaptive.linear %a weights(%b) : " + types +
                           ") -> (" + rowsResult(n).type() + ")",
                       {rowsResult(n)},
                       {},
                       off,
                       off});
      if (n == 64)
        table.push_back(
            {"linear",
             "two results, " + shape,
             {x, w, matrix(2 * n, k, format)},
             "%r0, %r1 = adaptive.linear %a weights(%b, %c) : " + types + ", " +
                 matrix(2 * n, k).type() + ") -> (" + rowsResult(n).type() +
                 ", " + rowsResult(2 * n).type() + ")",
             {rowsResult(n), rowsResult(2 * n)},
             {},
             off,
             off});
      if (n == 48)
        continue;
      // silu(x W) * (x V) + residual + bias.
      table.push_back(
          {"linear",
           "epilogue, " + shape,
           {x, w, w, rows(n), bias},
           "%r0 = adaptive.linear %a weights(%b, %c) extras(%d, %e : " +
               rows(n).type() + ", " + bias.type() + ") : " + types + ", " +
               w.type() + ") -> (" + rowsResult(n).type() + ") epilogue " +
               region(4, "%n = arith.negf %x0 : f32\n"
                         "%e0 = math.exp %n : f32\n"
                         "%one = arith.constant 1.0 : f32\n"
                         "%d0 = arith.addf %one, %e0 : f32\n"
                         "%s = arith.divf %x0, %d0 : f32\n"
                         "%g = arith.mulf %s, %x1 : f32\n"
                         "%h = arith.addf %g, %x2 : f32\n"
                         "%y = arith.addf %h, %x3 : f32"),
           {rowsResult(n)},
           {},
           4 * off,
           4 * off});
    }
  for (int64_t width : {1, 64, 77}) {
    Parameter a = rows(width), b = vector(width);
    table.push_back({"map",
                     str(width),
                     {a, b, a},
                     "%r0 = adaptive.map(%a, %b, %c) : (" + a.type() + ", " +
                         b.type() + ", " + a.type() + ") -> " + a.type() +
                         region(3, "%s = arith.addf %x0, %x1 : f32\n"
                                   "%t = math.tanh %s : f32\n"
                                   "%y = arith.mulf %t, %x2 : f32"),
                     {rowsResult(width)},
                     {},
                     2e-6,
                     1e-6});
  }
}

void addExits(Table &table) {
  for (int64_t width : {2, 37, 320}) {
    Parameter a = rows(width);
    for (std::string kind : {"max_prob", "margin", "entropy"})
      table.push_back({"criteria",
                       kind + " " + str(width),
                       {a},
                       "%r0 = adaptive.criteria " + kind + " %a : " + a.type() +
                           " -> " + scalarResult.type(),
                       {scalarResult},
                       {},
                       5e-5,
                       5e-5});
    for (Parameter w : {vector(width), matrix(1, width)})
      table.push_back({"probe",
                       w.type(),
                       {a, w, vector(1)},
                       "%r0 = adaptive.probe %a, %b, %c : " + a.type() + ", " +
                           w.type() + ", " + vector(1).type() + " -> " +
                           scalarResult.type(),
                       {scalarResult},
                       {},
                       2e-5,
                       1e-5});
    table.push_back({"cosine",
                     str(width),
                     {a, a},
                     "%r0 = adaptive.cosine %a, %b : " + a.type() + " -> " +
                         scalarResult.type(),
                     {scalarResult},
                     {},
                     1e-4,
                     1e-4});
    table.push_back({"select",
                     str(width),
                     {mask(), a, a},
                     "%r0 = adaptive.select %a, %b, %c : " + mask().type() +
                         ", " + a.type(),
                     {rowsResult(width)},
                     {},
                     0,
                     0});
  }
  for (auto [index, depth] :
       {std::pair(0, 1), std::pair(3, 12), std::pair(31, 24)})
    table.push_back({"decide",
                     "exit " + str(index) + " at " + str(depth),
                     {scalars()},
                     "%r0 = adaptive.decide %a index " + str(index) +
                         " depth " + str(depth) + " : " + scalars().type() +
                         " -> " + maskResult.type(),
                     {maskResult},
                     {},
                     0,
                     0});
  table.push_back({"or",
                   "masks",
                   {mask(), mask()},
                   "%r0 = adaptive.or %a, %b : " + mask().type(),
                   {maskResult},
                   {},
                   0,
                   0});
  table.push_back({"mark_depth",
                   "24",
                   {mask()},
                   "adaptive.mark_depth %a depth 24 : " + mask().type(),
                   {},
                   {"depth"},
                   0,
                   0});
}

void addKV(Table &table) {
  struct Shape {
    int64_t heads, kvHeads, dim;
  };
  for (Shape s : {Shape{4, 2, 16}, Shape{9, 3, 64}, Shape{2, 2, 20}}) {
    Parameter rowsKV = rows(s.kvHeads * s.dim), q = rows(s.heads * s.dim),
              cache = kv(s.kvHeads, s.dim);
    std::string shape =
        str(s.heads) + "/" + str(s.kvHeads) + " heads of " + str(s.dim);
    table.push_back({"kv_append",
                     shape,
                     {rowsKV, rowsKV},
                     "%r0 = adaptive.kv_append %a, %b : " + rowsKV.type() +
                         " -> " + cache.type(),
                     {},
                     {"kv"},
                     0,
                     0});
    table.push_back({"attend",
                     shape,
                     {q, cache},
                     "%r0 = adaptive.attend %a, %b heads " + str(s.heads) +
                         " scale 2.5e-01 : " + q.type() + ", " + cache.type(),
                     {rowsResult(s.heads * s.dim)},
                     {},
                     5e-6,
                     5e-6});
  }
}

} // namespace

const std::vector<OpCase> &conformance::cases() {
  static const Table table = [] {
    Table list;
    addRows(list);
    addLinear(list);
    addExits(list);
    addKV(list);
    return list;
  }();
  return table;
}

const std::map<std::string, std::string> &conformance::opsWithoutKernel() {
  static const std::map<std::string, std::string> list = {
      {"block", "a body that layers share, not an op on rows"},
      {"exit", "exit lowerings turn it into decide and select or leave; its "
               "decomposition is decide, then select"},
      {"exit_entry", "an entry of the artifact"},
      {"kv_level", "an entry of the artifact"},
      {"layers", "unrolled into the ops of its block"},
      {"leave", "changes which rows are in the launch, which no function of "
                "tensors can: cut into stages before kernels are made"},
      {"model", "cut into stages"},
      {"node.branch", "interpreted by the runtime"},
      {"node.embed", "interpreted by the runtime"},
      {"node.emit", "interpreted by the runtime"},
      {"node.end", "interpreted by the runtime"},
      {"node.filter", "interpreted by the runtime"},
      {"node.run", "interpreted by the runtime"},
      {"program", "interpreted by the runtime"},
      {"recurse", "unrolled into layers"},
      {"stage", "a sequence of kernels"},
      {"table", "computed at compile time"},
      {"use", "names a weight"},
      {"weight", "stays outside of the IR"},
      {"yield", "ends a region"}};
  return list;
}

namespace {

/// Numbers of one case.
class Filler {
public:
  Filler(const OpCase &op, int64_t rows, uint32_t seed) : op(op), random(seed) {
    inputs.rows = rows;
    inputs.floats.resize(op.parameters.size());
    inputs.ints.resize(op.parameters.size());
  }

  Inputs run() {
    for (size_t i = 0; i < op.parameters.size(); ++i)
      parameter(i);
    columns();
    policies();
    return std::move(inputs);
  }

private:
  std::vector<float> normal(int64_t count, float scale = 1) {
    std::normal_distribution<float> law(0, scale);
    std::vector<float> values(static_cast<size_t>(count));
    for (float &value : values)
      value = law(random);
    return values;
  }

  int32_t pick(std::initializer_list<int32_t> values) {
    return values.begin()[random() % values.size()];
  }

  void parameter(size_t i) {
    const Parameter &p = op.parameters[i];
    int64_t n = inputs.rows, elements = 1;
    for (int64_t extent : p.shape)
      elements *= extent;
    switch (p.kind) {
    case Parameter::Rows:
      inputs.floats[i] = normal(n * elements, 1.5f);
      break;
    case Parameter::Weight:
      inputs.floats[i] = normal(elements, 0.5f);
      break;
    case Parameter::Scalars: // away from the thresholds, which are whole
      for (int64_t row = 0; row < n; ++row)
        inputs.floats[i].push_back(float(pick({-5, -3, -1, 1, 3, 5})) * 0.45f);
      break;
    case Parameter::Ids: // ids outside of the table, too
      for (int64_t row = 0; row < n; ++row)
        inputs.ints[i].push_back(
            int32_t(int64_t(random() % uint64_t(p.shape[0] + 2)) - 1));
      break;
    case Parameter::Mask:
      for (int64_t row = 0; row < n; ++row)
        inputs.ints[i].push_back(pick({0, 1}));
      break;
    case Parameter::KV:
      cache(elements);
      break;
    }
    if (op.op == "kv_append")
      cache(p.shape[0]);
  }

  void cache(int64_t width) {
    inputs.keys = normal(Inputs::sequences * Inputs::positions * width);
    inputs.values = normal(Inputs::sequences * Inputs::positions * width);
  }

  /// Rows of distinct places, in the order that a launch has.
  void columns() {
    std::vector<int32_t> places(size_t(Inputs::sequences * Inputs::positions));
    for (size_t i = 0; i < places.size(); ++i)
      places[i] = int32_t(i);
    std::shuffle(places.begin(), places.end(), random);
    places.resize(size_t(inputs.rows));
    std::sort(places.begin(), places.end());
    for (int32_t place : places) {
      auto add = [&](const char *name, int32_t value) {
        inputs.columns[name].push_back(value);
      };
      add("sequence", place / int32_t(Inputs::positions));
      add("position", place % int32_t(Inputs::positions));
      add("policy", int32_t(random() % 16));
      add("script", pick({EE_SCRIPT_NONE, EE_SCRIPT_NONE, EE_SCRIPT_NONE,
                          EE_SCRIPT_FULL, 0, 3, 31}));
      add("flags", pick({1, 1, 1, 5, 0, 6}));
      add("depth", pick({1, 12, 30}));
    }
  }

  void policies() {
    for (int i = 0; i < 16; ++i) {
      ee_policy policy = {};
      policy.version = EE_POLICY_VERSION;
      policy.criterion_mask = uint32_t(pick({-1, -1, -1, 0x55555555}));
      policy.force_full = uint32_t(pick({0, 0, 0, 1}));
      policy.min_depth = pick({0, 0, 12, 13});
      policy.max_depth = pick({30, 30, 13, 12});
      // Scores are odd multiples of 0.45; thresholds with decay lie in
      // (0.9, 1.2], where there is none.
      bool decays = pick({0, 1});
      policy.decay_scale = decays ? 0.3f : 0;
      policy.decay_rate = 0.05f;
      for (float &threshold : policy.threshold)
        threshold = decays ? 0.9f : float(pick({-1, 0, 1}));
      inputs.policies.push_back(policy);
    }
  }

  const OpCase &op;
  std::mt19937 random;
  Inputs inputs;
};

} // namespace

Inputs conformance::makeInputs(const OpCase &op, int64_t rows, uint32_t seed) {
  return Filler(op, rows, seed).run();
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Places the inputs of a case as the stage ABI wants them, and reads results
// back.

#include "KernelBackend.h"

#include <cstring>

using namespace conformance;
using kernels_test::Bytes;

namespace {

constexpr int64_t pagePositions = 16;

/// Pages in which the sequences of a case lie scattered, for layer 1 of 2 of
/// level 1.
class Pages {
public:
  Pages(int64_t heads, int64_t dim, int64_t page)
      : heads(heads), dim(dim), page(page),
        stride((Inputs::positions + page - 1) / page),
        pageBytes(2 * layerBytes()),
        bytes(size_t(pageBytes * stride * Inputs::sequences)) {
    int64_t count = stride * Inputs::sequences;
    for (int64_t i = 0; i < count; ++i)
      table.push_back(int32_t(count - 1 - i));
    levels[0] = {nullptr, nullptr, 0};
    levels[1] = {bytes.data(), table.data(), stride};
  }

  float &at(bool value, int64_t sequence, int64_t position, int64_t element) {
    int64_t place = table[size_t(sequence * stride + position / page)];
    float *layer = reinterpret_cast<float *>(bytes.data() + place * pageBytes +
                                             layerBytes());
    int64_t head = element / dim, d = element % dim, p = position % page;
    return value ? layer[heads * dim * page + (head * page + p) * dim + d]
                 : layer[(head * dim + d) * page + p];
  }

  const ee_kv_level *data() const { return levels; }
  void share(kernels_test::Case &c) const {
    c.share(bytes.data(), bytes.size(), "pages");
    c.share(table.data(), table.size() * 4, "block table");
  }

private:
  int64_t layerBytes() const { return 2 * heads * dim * page * 4; }

  int64_t heads, dim, page, stride, pageBytes;
  Bytes bytes;
  std::vector<int32_t> table;
  ee_kv_level levels[2];
};

/// Calls visit(value?, sequence, position, element, index into dense KV).
template <typename Visit> void forEachEntry(int64_t width, Visit visit) {
  for (int64_t s = 0; s < Inputs::sequences; ++s)
    for (int64_t p = 0; p < Inputs::positions; ++p)
      for (int64_t e = 0; e < width; ++e)
        for (bool value : {false, true})
          visit(value, s, p, e,
                size_t((s * Inputs::positions + p) * width + e));
}

/// Heads and their dimension of the KV in a case, or none.
std::pair<int64_t, int64_t> kvShape(const OpCase &op) {
  size_t at = op.text.find("!adaptive.kv<");
  if (at == std::string::npos)
    return {0, 0};
  int64_t heads = 0, dim = 0;
  std::sscanf(op.text.c_str() + at, "!adaptive.kv<%ld x %ld>", &heads, &dim);
  return {heads, dim};
}

} // namespace

std::string KernelBackend::name() const {
  if (runner.sim)
    return "sim " + runner.sim->sm + " seed " +
           std::to_string(runner.sim->seed);
  return "cpu " + adaptive::cpu::levelName(runner.level).str();
}

void KernelBackend::settle(const OpCase &op, Inputs &inputs) {
  packed.clear();
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter &p = op.parameters[i];
    if (p.kind != Parameter::Weight || p.format == Format::Plain)
      continue;
    adaptive::kernels::Packing packing{p.format, p.shape[0], p.shape[1]};
    Bytes &bytes = packed[i] = Bytes(size_t(packing.bytes()));
    adaptive::kernels::packMatrix(packing, inputs.floats[i].data(), packing.k,
                                  1, bytes.data());
    adaptive::kernels::unpackMatrix(packing, bytes.data(),
                                    inputs.floats[i].data());
  }
}

kernels_test::Case &KernelBackend::compiled(const OpCase &op) {
  if (lastOp == &op)
    return *last;
  kernels_test::Options setup;
  setup.format = Format::Plain;
  setup.page = pagePositions;
  std::string parameters;
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter &p = op.parameters[i];
    parameters +=
        std::string(i ? ", %" : "%") + char('a' + i) + ": " + p.type();
    if (p.kind == Parameter::Weight)
      setup.formats[int(i)] = p.format;
  }
  last =
      std::make_unique<kernels_test::Case>(runner, parameters, op.text, setup);
  lastOp = &op;
  return *last;
}

Outputs KernelBackend::run(const OpCase &op, const Inputs &inputs) {
  kernels_test::Case &c = compiled(op);
  c.rows(inputs.rows);
  for (size_t i = 0; i < op.parameters.size(); ++i) {
    const Parameter &p = op.parameters[i];
    // Packing what was unpacked would round a second time.
    if (packed.count(i))
      c.shareWeight(int(i), packed[i].data());
    else if (p.kind == Parameter::Weight)
      c.setWeight(int(i), inputs.floats[i]);
    size_t width = p.kind == Parameter::Rows ? size_t(p.shape[0]) : 1;
    for (int64_t row = 0; row < inputs.rows; ++row) {
      size_t from = size_t(row) * width;
      if (p.kind == Parameter::Rows || p.kind == Parameter::Scalars)
        std::memcpy(c.input(int(i), row), &inputs.floats[i][from], width * 4);
      else if (p.kind == Parameter::Ids || p.kind == Parameter::Mask)
        std::memcpy(c.input(int(i), row), &inputs.ints[i][from], 4);
    }
  }
  for (int64_t row = 0; row < inputs.rows; ++row) {
    auto of = [&](const char *name) {
      return inputs.columns.at(name)[size_t(row)];
    };
    size_t slot = size_t(c.slot(row));
    c.sequence[slot] = of("sequence");
    c.position[slot] = of("position");
    c.policy[slot] = of("policy");
    c.script[slot] = of("script");
    c.depth[slot] = of("depth");
    c.flags[slot] = uint32_t(of("flags"));
  }
  c.args.policies = inputs.policies.data();
  std::vector<ee_sampler> samplers(size_t(Inputs::sequences),
                                   ee_sampler{0, 1, 0, 0, 7});
  c.args.samplers = samplers.data();
  c.share(inputs.policies.data(), inputs.policies.size() * sizeof(ee_policy),
          "policies");
  c.share(samplers.data(), samplers.size() * sizeof(ee_sampler), "samplers");
  auto [heads, dim] = kvShape(op);
  std::unique_ptr<Pages> pages;
  if (heads) {
    pages = std::make_unique<Pages>(heads, dim, pagePositions);
    forEachEntry(heads * dim, [&](bool value, int64_t s, int64_t p, int64_t e,
                                  size_t at) {
      pages->at(value, s, p, e) = (value ? inputs.values : inputs.keys)[at];
    });
    c.args.kv = pages->data();
    c.kvLevels = 2;
    pages->share(c);
    c.context = {1, 0};
  }
  c.run(7);

  Outputs out;
  for (size_t i = 0; i < op.results.size(); ++i) {
    const Result &r = op.results[i];
    auto &list = out.results.emplace_back();
    for (int64_t row = 0; row < inputs.rows; ++row)
      for (int64_t e = 0; e < r.width; ++e) {
        const float *place = c.result(row, int(i)) + e;
        int32_t bits;
        std::memcpy(&bits, place, 4);
        bool floats = r.kind == Result::Rows || r.kind == Result::Scalars;
        list.push_back(floats ? double(*place) : double(bits));
      }
  }
  for (int64_t row = 0; row < inputs.rows; ++row)
    out.depth.push_back(c.depth[size_t(c.slot(row))]);
  if (heads) {
    out.keys.resize(inputs.keys.size());
    out.values.resize(inputs.values.size());
    forEachEntry(heads * dim, [&](bool value, int64_t s, int64_t p, int64_t e,
                                  size_t at) {
      (value ? out.values : out.keys)[at] = pages->at(value, s, p, e);
    });
  }
  return out;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every backend against the linalg decomposition of every kernel op.

#include "FunctionBackend.h"
#include "KernelBackend.h"
#include "Oracle.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <functional>

using namespace conformance;

namespace {

/// Null where this machine cannot run the backend.
using BackendFactory = std::function<std::unique_ptr<Backend>()>;

template <typename T>
std::unique_ptr<Backend> make(adaptive::cpu::Level level) {
  if (!kernels_test::runsHere(level))
    return nullptr;
  return std::make_unique<T>(level);
}

/// The backends of this build; a new one is a line here.
std::vector<BackendFactory> backends() {
  std::vector<BackendFactory> list;
  for (auto level : {adaptive::cpu::Level::V3, adaptive::cpu::Level::AVX512}) {
    list.push_back([=] { return make<KernelBackend>(level); });
    list.push_back([=] { return make<FunctionBackend>(level); });
  }
  return list;
}

std::set<std::string> testedOps() {
  std::set<std::string> ops;
  for (const OpCase &op : cases())
    ops.insert(op.op);
  return ops;
}

/// Whether two lists of rows agree within the tolerance of the case.
void compareRows(const OpCase &op, size_t result,
                 const std::vector<double> &got,
                 const std::vector<double> &want) {
  ASSERT_EQ(got.size(), want.size());
  const Result &r = op.results[result];
  bool floats = r.kind == Result::Rows || r.kind == Result::Scalars;
  size_t width = size_t(r.width);
  for (size_t row = 0; row * width < want.size(); ++row) {
    double largest = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i)
      if (std::isfinite(want[i]))
        largest = std::max(largest, std::fabs(want[i]));
    double allowed = floats ? op.absolute + op.relative * largest : 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      if (got[i] == want[i])
        continue; // infinities, too
      ASSERT_LE(std::fabs(got[i] - want[i]), allowed)
          << "result " << result << " row " << row << " element " << i % width
          << ": " << got[i] << ", the oracle has " << want[i];
    }
  }
}

class Conformance : public testing::TestWithParam<std::string> {};

TEST_P(Conformance, EqualsTheDecomposition) {
  bool ran = false;
  Oracle oracle;
  for (const BackendFactory &factory : backends()) {
    std::unique_ptr<Backend> backend = factory();
    if (!backend)
      continue;
    ran = true;
    for (const OpCase &op : cases()) {
      if (op.op != GetParam())
        continue;
      SCOPED_TRACE(backend->name() + ", " + op.op + " " + op.name);
      Inputs inputs = makeInputs(op, 19, 3);
      backend->settle(op, inputs);
      Outputs want = oracle.run(op, inputs), got = backend->run(op, inputs);
      ASSERT_EQ(want.results.size(), op.results.size());
      ASSERT_EQ(got.results.size(), op.results.size());
      for (size_t i = 0; i < op.results.size(); ++i)
        compareRows(op, i, got.results[i], want.results[i]);
      for (const std::string &effect : op.effects) {
        if (effect == "depth") {
          ASSERT_EQ(want.depth.size(), size_t(inputs.rows));
          ASSERT_NE(want.depth, inputs.columns["depth"]);
          ASSERT_EQ(got.depth, want.depth);
        } else {
          ASSERT_EQ(want.keys.size(), inputs.keys.size());
          ASSERT_NE(want.keys, inputs.keys);
          ASSERT_EQ(got.keys, want.keys);
          ASSERT_EQ(got.values, want.values);
        }
      }
      if (HasFatalFailure())
        return;
    }
  }
  if (!ran)
    GTEST_SKIP() << "no backend runs on this machine";
}

/// Whether two outputs have the same bits. A NaN is a NaN: its payload depends
/// on the machine.
void compareBits(const Outputs &got, const Outputs &want) {
  auto same = [](auto x, auto y) {
    return std::memcmp(&x, &y, sizeof x) == 0 || (x != x && y != y);
  };
  auto compare = [&](const char *what, const auto &a, const auto &b) {
    ASSERT_EQ(a.size(), b.size()) << what;
    for (size_t i = 0; i < a.size(); ++i)
      ASSERT_TRUE(same(a[i], b[i])) << what << " element " << i << ": " << a[i]
                                    << ", the CPU has " << b[i];
  };
  ASSERT_EQ(got.results.size(), want.results.size());
  for (size_t i = 0; i < got.results.size(); ++i)
    compare(("result " + std::to_string(i)).c_str(), got.results[i],
            want.results[i]);
  compare("depth", got.depth, want.depth);
  compare("keys", got.keys, want.keys);
  compare("values", got.values, want.values);
}

/// Runs the cases of an op on each number of rows with both backends.
void expectEqualBits(const std::string &name, KernelBackend &backend,
                     KernelBackend &cpu,
                     const std::vector<int64_t> &rowCounts) {
  for (const OpCase &op : cases()) {
    if (op.op != name)
      continue;
    for (int64_t rows : rowCounts) {
      SCOPED_TRACE(backend.name() + ", " + op.op + " " + op.name + ", " +
                   std::to_string(rows) + " rows");
      Inputs inputs = makeInputs(op, rows, uint32_t(3 + rows));
      cpu.settle(op, inputs);
      backend.share(cpu);
      compareBits(backend.run(op, inputs), cpu.run(op, inputs));
      if (testing::Test::HasFatalFailure())
        return;
    }
  }
}

/// PTX on the simulator against code of x86-64-v3.
TEST_P(Conformance, LanesHaveTheBitsOfTheCPU) {
  if (!kernels_test::runsHere(kernels_test::Level::V3))
    GTEST_SKIP() << "this machine does not run x86-64-v3";
  KernelBackend cpu(kernels_test::Level::V3);
  KernelBackend lanes{kernels_test::SimOptions{}};
  expectEqualBits(GetParam(), lanes, cpu, {0, 1, 9});
}

INSTANTIATE_TEST_SUITE_P(Ops, Conformance, testing::ValuesIn(testedOps()),
                         [](const auto &info) { return info.param; });

/// An op of the dialect is in the table, or the table says why it is not.
TEST(ConformanceTable, NamesEveryOpOfTheDialect) {
  std::set<std::string> tested = testedOps(), registered = registeredOps();
  EXPECT_GT(registered.size(), 20u);
  for (const std::string &name : registered) {
    bool isTested = tested.count(name),
         isListed = opsWithoutKernel().count(name);
    EXPECT_TRUE(isTested || isListed)
        << "adaptive." << name
        << " has no case in the conformance table; a kernel op needs a "
           "decomposition and cases, another one a line with the reason";
    EXPECT_FALSE(isTested && isListed) << name;
  }
  for (const std::string &name : tested)
    EXPECT_TRUE(registered.count(name)) << name;
  for (const auto &[name, reason] : opsWithoutKernel())
    EXPECT_TRUE(registered.count(name)) << name;
}

/// The inputs reach both sides of what ops decide: a test of nothing would
/// pass.
TEST(ConformanceTable, DecidesBothWays) {
  Oracle oracle;
  for (const OpCase &op : cases()) {
    if (op.op != "decide")
      continue;
    Inputs inputs = makeInputs(op, 200, 5);
    double leaving = 0;
    Outputs out = oracle.run(op, inputs);
    for (double decision : out.results[0])
      leaving += decision;
    EXPECT_GT(leaving, 20) << op.name;
    EXPECT_LT(leaving, 180) << op.name;
  }
}

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every backend against the linalg decomposition of every kernel op.

#include "CpuBackend.h"
#include "FunctionBackend.h"
#include "Oracle.h"

#include "gtest/gtest.h"

#include <cmath>
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
    list.push_back([=] { return make<CpuBackend>(level); });
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

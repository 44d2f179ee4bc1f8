// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the scheduler derives from a depth program.
#include "scheduler/plan.h"
#include "toy_model.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace {

ee::Manifest parse(const char *fill) {
  auto m = toy::manifest(fill);
  for (auto &file : m["files"]) {
    file["bytes"] = 128;
    file["sha256"] = std::string(64, 'a');
  }
  m["cpu"][0]["sha256"] = std::string(64, 'a');
  auto parsed = ee::parseManifest(m.dump());
  EXPECT_TRUE(parsed) << parsed.error();
  return std::move(*parsed);
}

TEST(ProgramPlanTest, RowsMeetAgainBeforeTheHead) {
  for (const char *fill : {"exact", "propagate"}) {
    ee::Manifest manifest = parse(fill);
    ee::ProgramPlan plan(manifest);
    auto at = [&](int32_t node) {
      return std::find(plan.order().begin(), plan.order().end(), node) -
             plan.order().begin();
    };
    EXPECT_EQ(at(0), 0);
    EXPECT_LT(at(10), at(6)); // the exit's own way
    EXPECT_LT(at(5), at(6));
    EXPECT_LT(at(6), at(7));
    if (std::string(fill) == "propagate") {
      EXPECT_LT(at(11), at(12));
      EXPECT_LT(at(11), at(3)); // fills before the stages that read them
    }
  }
}

TEST(ProgramPlanTest, DebtChains) {
  ee::Manifest exact = parse("exact");
  ee::ProgramPlan plan(exact);
  EXPECT_EQ(plan.nextDebt(3), 3);
  EXPECT_EQ(plan.nextDebt(4), 5); // a decision keeps a debt on its way
  EXPECT_EQ(plan.nextDebt(6), -1);
  EXPECT_TRUE(plan.owes(3, 1));
  EXPECT_TRUE(plan.owes(3, 2));
  EXPECT_FALSE(plan.owes(3, 0));
  EXPECT_FALSE(plan.owes(5, 1));
  EXPECT_FALSE(plan.kvAhead(10));
  ee::Manifest propagate = parse("propagate");
  ee::ProgramPlan fills(propagate);
  EXPECT_EQ(fills.nextDebt(11), 11);
  EXPECT_TRUE(fills.owes(11, 2));
  EXPECT_EQ(fills.nextDebt(9), -1);
}

} // namespace

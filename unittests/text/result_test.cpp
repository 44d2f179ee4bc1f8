// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expected holds one side, and moves what it holds.
#include "ee/result.h"

#include <gtest/gtest.h>
#include <memory>

using namespace ee;

namespace {

TEST(Expected, HoldsAValue) {
  Expected<std::unique_ptr<int>> value = std::make_unique<int>(7);
  ASSERT_TRUE(bool(value));
  EXPECT_EQ(**value, 7);
  std::unique_ptr<int> taken = *std::move(value);
  EXPECT_EQ(*taken, 7);
}

TEST(Expected, HoldsAFailure) {
  Expected<int> failed = Failure{"no"};
  ASSERT_FALSE(bool(failed));
  Expected<void> passedOn = failed.takeFailure();
  ASSERT_FALSE(bool(passedOn));
  EXPECT_EQ(passedOn.error(), "no");
  EXPECT_TRUE(bool(Expected<void>()));
}

// A value of the failure's own kind of content is still a value.
TEST(Expected, StringsAreValues) {
  Expected<std::string> text = std::string("text");
  ASSERT_TRUE(bool(text));
  EXPECT_EQ(*text, "text");
}

} // namespace

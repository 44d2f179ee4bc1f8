// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// With exact fill the KV of all layers is that of the full model on the
// emitted text, to the byte.
#include "session_workload.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace {
using namespace toy;

class SessionKvTest : public testing::TestWithParam<TestDevice> {};

/// KV bytes of all levels after `request`.
std::vector<std::vector<uint8_t>>
kvAfter(const Model &model, ee::Request request, std::vector<int32_t> *ids) {
  ee::SessionOptions options;
  options.completeKv = true;
  options.policies = Workload::policies();
  auto session = model.session(options);
  EXPECT_TRUE(session);
  request.keepKv = true;
  auto ticket = (*session)->submit(request);
  EXPECT_TRUE(ticket);
  EXPECT_TRUE((*session)->drain());
  if (ids)
    *ids = (*session)->poll(*ticket)->ids;
  std::vector<std::vector<uint8_t>> result;
  int64_t held = 0;
  for (int32_t level = 0; level < 3; ++level) {
    std::vector<uint8_t> bytes;
    int64_t stored = (*session)->kvStored(*ticket, level);
    for (int64_t page = 0; page * TOY_PAGE < stored; ++page) {
      auto span = (*session)->kvPage(*ticket, level, page);
      EXPECT_TRUE(span) << span.error();
      bytes.insert(bytes.end(), span->begin(), span->end());
    }
    EXPECT_TRUE((*session)->kvPage(*ticket, level, 1000)->empty());
    held += (*session)->totalPages() - (*session)->freePages(level);
    result.push_back(std::move(bytes));
  }
  EXPECT_GT(held, 0);
  (*session)->releaseKv(*ticket);
  for (int32_t level = 0; level < 3; ++level)
    EXPECT_EQ((*session)->freePages(level), (*session)->totalPages());
  return result;
}

TEST_P(SessionKvTest, ExactKvEqualsTheFullModel) {
  Model model("exact", GetParam());
  Workload work(12, 17);
  int left = 0;
  for (const ee::Request &request : work.requests) {
    std::vector<int32_t> ids;
    auto grouped = kvAfter(model, request, &ids);
    // The full model on the emitted text; the last token is never fed.
    ee::Request full;
    full.prompt = request.prompt;
    full.prompt.insert(full.prompt.end(), ids.begin(), ids.end() - 1);
    full.maxNewTokens = 0;
    EXPECT_EQ(grouped, kvAfter(model, full, nullptr));
    left += ids.size() > 3;
  }
  EXPECT_GT(left, 3);
}

TEST_P(SessionKvTest, PropagatedKvIsNotTheFullModels) {
  // The test above can fail: with propagation the same comparison differs.
  Model model("propagate", GetParam());
  ee::Request request;
  request.prompt = {1, 2, 3};
  request.maxNewTokens = 6;
  request.script.assign(6, 0);
  std::vector<int32_t> ids;
  auto grouped = kvAfter(model, request, &ids);
  ee::Request full;
  full.prompt = request.prompt;
  full.prompt.insert(full.prompt.end(), ids.begin(), ids.end() - 1);
  auto want = kvAfter(model, full, nullptr);
  EXPECT_EQ(grouped[0], want[0]);
  EXPECT_NE(grouped[1], want[1]);
}

TEST_P(SessionKvTest, HeldKvThatBlocksARequestIsAnError) {
  Model model("exact", GetParam());
  ee::SessionOptions options;
  options.kvPages = 3;
  auto session = model.session(options);
  ASSERT_TRUE(session);
  ee::Request request;
  request.prompt = {1, 2, 3, 4, 5};
  request.maxNewTokens = 4;
  request.keepKv = true;
  auto first = (*session)->submit(request);
  ASSERT_TRUE((*session)->drain());
  ASSERT_TRUE((*session)->submit(request));
  bool failed = false;
  for (int i = 0; i < 20 && !failed; ++i)
    failed = !(*session)->step();
  EXPECT_TRUE(failed);
  (*session)->releaseKv(*first);
  EXPECT_TRUE((*session)->drain());
}

INSTANTIATE_TEST_SUITE_P(Devices, SessionKvTest, testing::ValuesIn(testDevices),
                         testing::PrintToStringParamName());

} // namespace

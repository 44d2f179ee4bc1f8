// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The scan finds tensors wherever they hide, names each uniquely, and writes a
// model that differs in nothing but what it was told to leave out.

#include "TensorIndex.h"

#include "gtest/gtest.h"

using namespace adaptive;
using namespace std::literals;

namespace {

std::string message(uint32_t number, const std::string &body) {
  std::string out;
  wire::appendBytesField(out, number, body);
  return out;
}

/// FLOAT [1] with raw data.
std::string tensor(const std::string &name) {
  std::string out;
  wire::appendVarintField(out, 1, 1);
  wire::appendVarintField(out, 2, 1);
  return out + message(8, name) + message(9, "abcd");
}

std::string node(const std::string &op, const std::string &output,
                 const std::string &attribute) {
  return message(2, output) + message(4, op) + message(5, attribute);
}

std::string tensorAttribute(const std::string &name) {
  return message(1, name) + message(5, tensor(""));
}

std::vector<std::string> keysOf(const std::string &model) {
  std::vector<std::string> keys;
  auto ok = scanModel(
      model,
      [&](TensorEntry &entry) -> ee::Expected<TensorRewrite> {
        keys.push_back(entry.key);
        return TensorRewrite();
      },
      nullptr);
  EXPECT_TRUE(ok) << ok.error();
  return keys;
}

} // namespace

TEST(TensorIndex, NamesEveryTensor) {
  std::string inner =
      message(1, node("Constant", "c", tensorAttribute("value"))) +
      message(5, tensor("w"));
  std::string graph =
      message(5, tensor("w")) +
      message(1, node("Constant", "c", tensorAttribute("value"))) +
      message(1,
              node("If", "y", message(1, "then_branch") + message(6, inner)));
  std::string sparse = message(1, tensor("s")) + message(2, tensor(""));
  std::string function =
      message(1, "F") + message(10, "d") +
      message(7, node("Constant", "c", tensorAttribute("value")));
  std::string model =
      message(7, graph + message(15, sparse)) + message(25, function);
  EXPECT_EQ(keysOf(model),
            (std::vector<std::string>{"w", "c#value", "y#then_branch/c#value",
                                      "y#then_branch/w", "s.values",
                                      "s.indices", "d::F/c#value"}));
}

TEST(TensorIndex, EqualNamesGetDifferentKeys) {
  std::string graph = message(5, tensor("w")) + message(5, tensor("w")) +
                      message(5, tensor("w"));
  EXPECT_EQ(keysOf(message(7, graph)),
            (std::vector<std::string>{"w", "w~2", "w~3"}));
}

TEST(TensorIndex, KeepsOtherBytes) {
  std::string model = message(
      7, message(2, "graph") + message(5, tensor("w")) +
             message(1, node("Constant", "c", tensorAttribute("value"))));
  std::string copy;
  auto keep = [](TensorEntry &) -> ee::Expected<TensorRewrite> {
    return TensorRewrite();
  };
  ASSERT_TRUE(scanModel(model, keep, &copy));
  EXPECT_EQ(copy, model);

  std::string slim;
  auto detach = [](TensorEntry &entry) -> ee::Expected<TensorRewrite> {
    EXPECT_EQ(entry.raw, "abcd");
    return TensorRewrite{TensorRewrite::Detach, {}};
  };
  ASSERT_TRUE(scanModel(model, detach, &slim));
  EXPECT_EQ(slim.find("abcd"), std::string::npos);
  EXPECT_NE(slim.find(std::string(kDetachedMark) + "c#value"),
            std::string::npos);
}

TEST(TensorIndex, BoundsNesting) {
  std::string graph = message(2, "leaf");
  for (int i = 0; i < 200; ++i)
    graph = message(
        1, node("If", "y", message(1, "then_branch") + message(6, graph)));
  auto keep = [](TensorEntry &) -> ee::Expected<TensorRewrite> {
    return TensorRewrite();
  };
  EXPECT_FALSE(scanModel(message(7, graph), keep, nullptr));
}

TEST(TensorIndex, RefusesEveryTruncation) {
  std::string body =
      message(5, tensor("w")) +
      message(1, node("Constant", "c", tensorAttribute("value")));
  std::string model = message(7, body);
  auto keep = [](TensorEntry &) -> ee::Expected<TensorRewrite> {
    return TensorRewrite();
  };
  for (size_t length = 1; length < model.size(); ++length)
    EXPECT_FALSE(
        scanModel(std::string_view(model).substr(0, length), keep, nullptr))
        << length;
}

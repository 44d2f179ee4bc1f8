// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SHA-256 against the examples published with FIPS 180-4.
#include "ee/sha256.h"

#include <fstream>
#include <gtest/gtest.h>

using namespace ee;

namespace {

TEST(Sha256, KnownVectors) {
  EXPECT_EQ(*sha256Hex(std::string_view()), "e3b0c44298fc1c149afbf4c8996fb924"
                                            "27ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(*sha256Hex(std::string_view("abc")),
            "ba7816bf8f01cfea414140de5dae2223"
            "b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*sha256Hex(std::string_view(
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039"
            "a33ce45964ff2167f6ecedd419db06c1");
}

// A million times 'a', from a file longer than one piece.
TEST(Sha256, FileAndPieces) {
  constexpr const char *expected = "cdc76e5c9914fb9281a1c7e284d73e67"
                                   "f1809a48a497200e046d39ccc7112cd0";
  Sha256 hash;
  std::string piece(1000, 'a');
  for (int i = 0; i < 1000; ++i)
    hash.update(std::as_bytes(std::span(piece)));
  EXPECT_EQ(*hash.finishHex(), expected);
  EXPECT_FALSE(bool(hash.finishHex()));

  std::string path = testing::TempDir() + "ee-sha256-test";
  for (size_t size : {size_t(0), size_t(1000000), size_t(3) << 20}) {
    std::string text(size, 'a');
    std::ofstream(path, std::ios::binary) << text;
    auto file = File::open(path, 1 << 24);
    ASSERT_TRUE(bool(file));
    EXPECT_EQ(*sha256Hex(*file), *sha256Hex(text)) << size;
  }
  std::remove(path.c_str());
}

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The guarded opener: what an untrusted name may lead to, and what it may not.
#include "ee/file.h"

#include "ee/checked.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace ee;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t limit = 1 << 20;

void write(const fs::path &path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

class FileTest : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "ee-file-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern.data()));
    root = pattern;
    fs::create_directories(root / "in/sub");
    write(root / "outside", "secret");
    write(root / "in/plain", "hello");
    write(root / "in/sub/deep", "deep");
    write(root / "in/empty", "");
  }
  void TearDown() override { fs::remove_all(root); }

  std::string refusal(std::string_view name, uint64_t maxBytes = limit) {
    auto directory = Directory::open(root / "in");
    EXPECT_TRUE(bool(directory));
    auto file = File::openBeneath(*directory, name, maxBytes);
    return file ? "" : file.error();
  }
  std::string read(std::string_view name) {
    auto directory = Directory::open(root / "in");
    EXPECT_TRUE(bool(directory));
    auto file = File::openBeneath(*directory, name, limit);
    EXPECT_TRUE(bool(file)) << file.error();
    auto text = file->readAll(limit);
    EXPECT_TRUE(bool(text));
    return *text;
  }

  fs::path root;
};

TEST_F(FileTest, ReadsPlainFiles) {
  EXPECT_EQ(read("plain"), "hello");
  EXPECT_EQ(read("sub/deep"), "deep");
  EXPECT_EQ(read("./sub//deep"), "deep");
  EXPECT_EQ(read("empty"), "");
  auto direct = File::open(root / "in/plain", limit);
  ASSERT_TRUE(bool(direct));
  EXPECT_EQ(direct->size(), 5u);
}

TEST_F(FileTest, RefusesNamesThatLeadOut) {
  EXPECT_NE(refusal("../outside").find("'..'"), std::string::npos);
  EXPECT_NE(refusal("sub/../plain").find("'..'"), std::string::npos);
  EXPECT_NE(refusal("..").find("'..'"), std::string::npos);
  EXPECT_NE(refusal((root / "outside").string()).find("absolute"),
            std::string::npos);
  EXPECT_NE(refusal("").find("empty"), std::string::npos);
  EXPECT_NE(refusal(std::string_view("plain\0x", 7)).find("NUL"),
            std::string::npos);
  EXPECT_NE(refusal(std::string(5000, 'a')).find("4095"), std::string::npos);
}

TEST_F(FileTest, RefusesLinks) {
  fs::create_symlink("../outside", root / "in/link");
  fs::create_symlink("plain", root / "in/inner");
  fs::create_directory_symlink(root, root / "in/dirlink");
  fs::create_hard_link(root / "outside", root / "in/hard");
  EXPECT_NE(refusal("link").find("symbolic link"), std::string::npos);
  EXPECT_NE(refusal("inner").find("symbolic link"), std::string::npos);
  EXPECT_NE(refusal("dirlink/outside").find("symbolic link"),
            std::string::npos);
  EXPECT_NE(refusal("hard").find("2 hard links"), std::string::npos);
  // The user's own path may be a link of either kind.
  EXPECT_TRUE(bool(File::open(root / "in/link", limit)));
  EXPECT_TRUE(bool(File::open(root / "in/hard", limit)));
}

TEST_F(FileTest, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo((root / "in/fifo").c_str(), 0600), 0);
  // Neither may hang on the FIFO.
  EXPECT_NE(refusal("fifo").find("not a regular file"), std::string::npos);
  EXPECT_NE(refusal("sub").find("not a regular file"), std::string::npos);
  EXPECT_NE(refusal(".").find("not a regular file"), std::string::npos);
  EXPECT_NE(refusal("plain/").size(), 0u);
  EXPECT_NE(refusal("plain/x").size(), 0u);
  for (const char *path : {"in/fifo", "in/sub"}) {
    auto file = File::open(root / path, limit);
    ASSERT_FALSE(bool(file));
    EXPECT_NE(file.error().find("not a regular file"), std::string::npos);
  }
  auto device = File::open("/dev/null", limit);
  EXPECT_FALSE(bool(device));
}

TEST_F(FileTest, BothResolversAgree) {
  fs::create_symlink("plain", root / "in/link");
  fs::create_directory_symlink("sub", root / "in/dirlink");
  auto directory = Directory::open(root / "in");
  ASSERT_TRUE(bool(directory));
  using detail::Resolver;
  for (const char *name :
       {"plain", "sub/deep", "./sub//deep", "sub", "missing", "sub/missing",
        "missing/deep", "plain/deep", "link", "dirlink/deep", "../outside",
        "sub/../../outside", "/etc/passwd"}) {
    Descriptor kernel(detail::resolveBeneath(directory->descriptor(), name,
                                             Resolver::Kernel));
    if (kernel.get() == -ENOSYS || kernel.get() == -EPERM)
      GTEST_SKIP() << "no openat2 here";
    Descriptor walk(
        detail::resolveBeneath(directory->descriptor(), name, Resolver::Walk));
    EXPECT_EQ(bool(kernel), bool(walk)) << name;
    if (!kernel) {
      EXPECT_EQ(kernel.get(), walk.get()) << name;
    }
  }
}

TEST_F(FileTest, KeepsItsDirectoryWhenThePathChanges) {
  auto directory = Directory::open(root / "in");
  ASSERT_TRUE(bool(directory));
  fs::rename(root / "in", root / "moved");
  fs::create_directory(root / "in");
  write(root / "in/plain", "other");
  auto file = File::openBeneath(*directory, "plain", limit);
  ASSERT_TRUE(bool(file));
  EXPECT_EQ(*file->readAll(limit), "hello");
}

TEST_F(FileTest, HoldsToSizeLimits) {
  EXPECT_NE(refusal("plain", 4).find("at most 4 bytes"), std::string::npos);
  EXPECT_EQ(refusal("plain", 5), "");
  auto file = File::open(root / "in/plain", limit);
  ASSERT_TRUE(bool(file));
  EXPECT_FALSE(bool(file->readAll(4)));
  EXPECT_TRUE(bool(file->readAll(5)));
  ASSERT_EQ(truncate((root / "in/plain").c_str(), 2), 0);
  auto cut = file->readAll(5);
  ASSERT_FALSE(bool(cut));
  EXPECT_NE(cut.error().find("ends before byte 2"), std::string::npos);
}

TEST_F(FileTest, MapsWholeAndInPart) {
  std::string text(10000, 'x');
  text.replace(5000, 5, "five!");
  write(root / "in/big", text);
  auto file = File::open(root / "in/big", limit);
  ASSERT_TRUE(bool(file));
  auto whole = file->map();
  ASSERT_TRUE(bool(whole));
  EXPECT_EQ(whole->text(), text);
  auto part = file->map(5000, 5);
  ASSERT_TRUE(bool(part));
  EXPECT_EQ(part->text(), "five!");
  MappedFile moved = std::move(*part);
  EXPECT_EQ(moved.text(), "five!");
  moved = std::move(*whole);
  EXPECT_EQ(moved.text().size(), 10000u);
  EXPECT_TRUE(bool(file->map(10000, 0)));
  EXPECT_FALSE(bool(file->map(10000, 1)));
  EXPECT_FALSE(bool(file->map(~uint64_t(0), 2)));
  EXPECT_FALSE(bool(file->map(1, ~uint64_t(0))));
  auto empty = File::open(root / "in/empty", limit);
  ASSERT_TRUE(bool(empty));
  ASSERT_TRUE(bool(empty->map()));
  EXPECT_TRUE(empty->map()->bytes().empty());
}

TEST_F(FileTest, MessagesStayOnOneLine) {
  std::string message = refusal("no\nsuch\x1b[2Jfile\"");
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_NE(message.find("no\\x0asuch\\x1b[2Jfile\\\""), std::string::npos);
  EXPECT_LT(inQuotes(std::string(100000, 'a')).size(), 300u);
}

TEST(Checked, SaysWhenItDoesNotFit) {
  EXPECT_EQ(checkedAdd<uint8_t>(200, 55), uint8_t(255));
  EXPECT_FALSE(checkedAdd<uint8_t>(200, 56));
  EXPECT_EQ(checkedMul<uint64_t>(uint64_t(1) << 32, (uint64_t(1) << 32) - 1),
            ((uint64_t(1) << 32) - 1) << 32);
  EXPECT_FALSE(checkedMul<uint64_t>(uint64_t(1) << 32, uint64_t(1) << 32));
  EXPECT_FALSE(checkedMul<int64_t>(INT64_MIN, -1));
  EXPECT_FALSE((checkedCast<uint64_t>(-1)));
  EXPECT_FALSE((checkedCast<int8_t>(128)));
  EXPECT_EQ((checkedCast<int8_t>(uint64_t(127))), int8_t(127));
  EXPECT_TRUE(rangeFits<uint64_t>(5, 5, 10));
  EXPECT_FALSE(rangeFits<uint64_t>(5, 6, 10));
  EXPECT_FALSE(rangeFits<uint64_t>(11, 0, 10));
  EXPECT_FALSE(rangeFits<uint64_t>(1, UINT64_MAX, 10));
}

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files that a user names: what is replaced, what is written in place, and
// what is left behind when it goes wrong.
#include "ee/output.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

using namespace ee;
namespace fs = std::filesystem;

namespace {

class OutputTest : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "ee-output-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern.data()));
    root = pattern;
    fs::create_directory(root / "sub");
  }
  void TearDown() override { fs::remove_all(root); }

  std::string at(const char *name) const { return (root / name).string(); }
  void put(const char *name, std::string_view text) {
    std::ofstream(root / name) << text;
  }
  std::string get(const char *name) const {
    std::stringstream text;
    text << std::ifstream(root / name).rdbuf();
    return text.str();
  }
  mode_t mode(const char *name) const {
    struct stat info = {};
    ::lstat(at(name).c_str(), &info);
    return info.st_mode;
  }
  ino_t inode(const char *name) const {
    struct stat info = {};
    ::lstat(at(name).c_str(), &info);
    return info.st_ino;
  }
  size_t entries() const {
    auto all = fs::recursive_directory_iterator(root);
    return size_t(std::distance(begin(all), end(all)));
  }
  /// A private twin of a device in /dev; false where that is not permitted.
  bool device(const char *name, unsigned minor) {
    if (::mknod(at(name).c_str(), S_IFCHR | 0666, makedev(1, minor)) != 0)
      return false;
    Descriptor fd(::open(at(name).c_str(), O_WRONLY));
    return bool(fd);
  }
  std::string refusal(const std::string &path) {
    auto done = writeOutput(path, "new");
    auto checked = Output::check(path);
    EXPECT_FALSE(bool(done));
    EXPECT_FALSE(bool(checked));
    if (done || checked)
      return "";
    EXPECT_EQ(checked.error(), done.error());
    return done.error();
  }
  void write(const std::string &path, std::string_view text = "new") {
    auto checked = Output::check(path);
    EXPECT_TRUE(bool(checked)) << checked.error();
    auto done = writeOutput(path, text);
    EXPECT_TRUE(bool(done)) << done.error();
  }

  fs::path root;
};

TEST_F(OutputTest, NewFilesObeyTheUmask) {
  mode_t before = umask(027);
  write(at("file"));
  umask(before);
  EXPECT_EQ(get("file"), "new");
  EXPECT_EQ(mode("file"), mode_t(S_IFREG | 0640));
  EXPECT_EQ(entries(), 2u);
}

TEST_F(OutputTest, RegularFilesAreReplacedAndKeepTheirPermissions) {
  put("file", "old text");
  fs::create_hard_link(root / "file", root / "other");
  ASSERT_EQ(chmod(at("file").c_str(), 0604), 0);
  write(at("file"));
  EXPECT_EQ(get("file"), "new");
  EXPECT_EQ(mode("file"), mode_t(S_IFREG | 0604));
  // Who has the old file open keeps it whole.
  EXPECT_EQ(get("other"), "old text");
}

TEST_F(OutputTest, LinksStayAndTheirTargetsAreWritten) {
  put("sub/real", "old");
  fs::create_symlink("sub/real", root / "one");
  fs::create_symlink(root / "one", root / "two");
  fs::create_symlink("../made", root / "sub/dangling");
  ino_t before = inode("sub/real");
  write(at("two"), "through two links");
  EXPECT_TRUE(S_ISLNK(mode("one")));
  EXPECT_TRUE(S_ISLNK(mode("two")));
  EXPECT_EQ(get("sub/real"), "through two links");
  EXPECT_NE(inode("sub/real"), before);
  write(at("sub/dangling"));
  EXPECT_TRUE(S_ISLNK(mode("sub/dangling")));
  EXPECT_EQ(get("made"), "new");
  EXPECT_EQ(entries(), 6u);
}

TEST_F(OutputTest, PipesAreWrittenInPlace) {
  ASSERT_EQ(mkfifo(at("pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", root / "link");
  std::string got;
  std::thread reader([&] { got = get("pipe"); });
  write(at("link"), "through the pipe");
  reader.join();
  EXPECT_EQ(got, "through the pipe");
  EXPECT_TRUE(S_ISFIFO(mode("pipe")));
  EXPECT_TRUE(S_ISLNK(mode("link")));
}

TEST_F(OutputTest, DevicesAreWrittenInPlace) {
  if (!device("null", 3) || !device("full", 7))
    GTEST_SKIP() << "devices cannot be made here";
  fs::create_symlink("null", root / "link");
  write(at("null"));
  write(at("link"));
  EXPECT_TRUE(S_ISCHR(mode("null")));
  EXPECT_TRUE(S_ISLNK(mode("link")));
  auto full = writeOutput(at("full"), "new");
  ASSERT_FALSE(bool(full));
  EXPECT_NE(full.error().find("No space left on device"), std::string::npos);
  EXPECT_NE(full.error().find("full"), std::string::npos);
  EXPECT_TRUE(S_ISCHR(mode("full")));
  EXPECT_EQ(entries(), 4u);
}

TEST_F(OutputTest, SocketsStay) {
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::string path = at("socket");
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(
      ::bind(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address),
      0);
  // A socket has no opening by its path; the point is that it stays one.
  EXPECT_FALSE(bool(writeOutput(path, "new")));
  EXPECT_TRUE(S_ISSOCK(mode("socket")));
}

TEST_F(OutputTest, OpenDescriptorsGoOnWhereTheyAre) {
  put("log", "before ");
  Descriptor fd(::open(at("log").c_str(), O_WRONLY | O_APPEND));
  ino_t log = inode("log");
  std::string name = std::to_string(fd.get());
  fs::create_symlink("/proc/self/fd/" + name, root / "link");
  write(at("link"), "link ");
  write("/dev/fd/" + name, "name ");
  EXPECT_EQ(get("log"), "before link name ");
  EXPECT_EQ(inode("log"), log);
  EXPECT_TRUE(S_ISLNK(mode("link")));
  // It is not closed either.
  EXPECT_EQ(::write(fd.get(), "end", 3), 3);
  Descriptor read(::open(at("log").c_str(), O_RDONLY));
  EXPECT_NE(refusal("/dev/fd/" + std::to_string(read.get()))
                .find("Bad file descriptor"),
            std::string::npos);
}

TEST_F(OutputTest, WhatCannotBeWrittenIsRefusedBeforehandToo) {
  put("file", "old");
  fs::create_symlink("loop", root / "loop");
  EXPECT_NE(refusal(at("sub")).find("Is a directory"), std::string::npos);
  EXPECT_NE(refusal(at("none/file")).find("No such file"), std::string::npos);
  EXPECT_NE(refusal(at("file/below")).find("Not a directory"),
            std::string::npos);
  EXPECT_NE(refusal(at("loop")).find("Too many levels"), std::string::npos);
  refusal("");
  refusal(std::string("a\0b", 3));
  EXPECT_EQ(entries(), 3u);
}

TEST_F(OutputTest, WhatIsNotCommittedLeavesNothing) {
  put("file", "old");
  {
    auto output = Output::open(at("file"));
    ASSERT_TRUE(bool(output));
    ASSERT_TRUE(bool(output->write("half")));
    EXPECT_EQ(entries(), 3u);
  }
  EXPECT_EQ(get("file"), "old");
  EXPECT_EQ(entries(), 2u);
}

int delivered = 0;

TEST_F(OutputTest, SignalsWaitUntilNothingHalfWrittenIsLeft) {
  for (int number : {SIGINT, SIGTERM, SIGHUP}) {
    delivered = 0;
    struct sigaction note = {}, before;
    note.sa_handler = [](int caught) { delivered = caught; };
    sigaction(number, &note, &before);
    {
      auto output = Output::open(at("file"));
      ASSERT_TRUE(bool(output));
      EXPECT_FALSE(DeferSignals::pending());
      raise(number);
      EXPECT_TRUE(DeferSignals::pending());
      EXPECT_EQ(delivered, 0);
      EXPECT_FALSE(bool(output->write("half")));
      EXPECT_FALSE(bool(output->commit()));
    }
    EXPECT_EQ(delivered, number);
    EXPECT_EQ(entries(), 1u);
    // The handler is the old one again.
    delivered = 0;
    raise(number);
    EXPECT_EQ(delivered, number);
    EXPECT_FALSE(DeferSignals::pending());
    sigaction(number, &before, nullptr);
  }
}

TEST_F(OutputTest, IgnoredSignalsStayIgnored) {
  auto before = std::signal(SIGHUP, SIG_IGN);
  {
    DeferSignals outer, inner;
    raise(SIGHUP);
    EXPECT_FALSE(DeferSignals::pending());
  }
  raise(SIGHUP);
  std::signal(SIGHUP, before);
}

} // namespace

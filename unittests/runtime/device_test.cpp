// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The contract of a device, on each of them; that the guarded one notices what
// breaks it; and how a session uses it: waits, buckets, mirrors.
#include "core/device_queue.h"
#include "session_workload.h"

#include <bit>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <random>

namespace {
using namespace toy;

class DeviceTest : public testing::TestWithParam<TestDevice> {
protected:
  DeviceTest() : model("exact"), device(GetParam().make(model.artifact, 2)) {}
  Model model;
  std::unique_ptr<ee::Device> device;
};

TEST_P(DeviceTest, ASubmissionRunsItsPartsInOrder) {
  auto memory = device->allocate(4096);
  auto host = device->allocateHost(256);
  ASSERT_TRUE(memory && host);
  for (int i = 0; i < 64; ++i)
    host->data()[i] = uint8_t(i + 1);
  ee::Submission s;
  ee::DeviceAddress at = memory->address();
  s.uploads.push_back({at, host->data(), 64});
  s.fills.push_back({at + 16, 16, 0xee});
  s.copies.push_back({at + 1024, at, 64});
  s.downloads.push_back({host->data() + 64, at + 1024, 128});
  auto ticket = device->submit(s);
  ASSERT_TRUE(ticket) << ticket.error();
  ASSERT_TRUE(device->wait(*ticket));
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(host->data()[64 + i], i >= 16 && i < 32 ? 0xee : i + 1);
  for (int i = 64; i < 128; ++i)
    EXPECT_EQ(host->data()[64 + i], 0) << "fresh memory is zero";
  ASSERT_TRUE(device->wait(*ticket)) << "a second wait finds it done";
}

TEST_P(DeviceTest, NothingIsAllocatedForNothing) {
  auto memory = device->allocate(0);
  auto host = device->allocateHost(0);
  ASSERT_TRUE(memory && host);
  EXPECT_EQ(memory->bytes() + host->bytes(), 0u);
}

/// Random writes, told to the device by marks alone.
TEST_P(DeviceTest, MirrorsArriveWhole) {
  constexpr int64_t count = 40000;
  auto queue = ee::DeviceQueue::create(
      *device, ee::MirrorBlock::bytesOf<int32_t>(count) +
                   ee::MirrorBlock::bytesOf<int32_t>(7));
  auto host = device->allocateHost(count * 4);
  ASSERT_TRUE(queue && host);
  (*queue)->mirrors().take<int32_t>(7);
  auto mirror = (*queue)->mirrors().take<int32_t>(count);
  std::vector<int32_t> want(count, 0);
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    for (uint32_t n = random() % 20; n > 0; --n) {
      int64_t place = random() % count;
      mirror.set(place, want[size_t(place)] = int32_t(random()));
      int64_t length = std::min<int64_t>(random() % 300, count - place);
      int32_t *to = mirror.write(place, length);
      for (int64_t i = 0; i < length; ++i)
        to[i] = want[size_t(place + i)] = int32_t(random());
    }
    (*queue)->download(host->data(), mirror.address(), count * 4);
    ASSERT_TRUE((*queue)->sync());
    ASSERT_EQ(std::memcmp(host->data(), want.data(), count * 4), 0);
    ASSERT_EQ(std::memcmp(&mirror[0], want.data(), count * 4), 0);
  }
}

/// What a session submits, on the CPU.
class RecordingDevice : public ee::Device {
public:
  explicit RecordingDevice(const ee::Artifact &artifact)
      : inner(ee::createCpuDevice(artifact, 1)) {}
  const char *name() const override { return "recording"; }
  int64_t workers() const override { return inner->workers(); }
  ee::Expected<ee::Buffer> allocate(uint64_t bytes) override {
    return inner->allocate(bytes);
  }
  ee::Expected<ee::HostBuffer> allocateHost(uint64_t bytes) override {
    return inner->allocateHost(bytes);
  }
  ee::Expected<ee::MirroredMemory> allocateMirrored(uint64_t bytes) override {
    return inner->allocateMirrored(bytes);
  }
  ee::Expected<uint64_t> submit(const ee::Submission &s) override {
    for (const ee::Launch &launch : s.launches)
      shapes.push_back({launch.args.max_rows, *launch.args.n_active});
    return inner->submit(s);
  }
  ee::Expected<void> wait(uint64_t ticket) override {
    return inner->wait(ticket);
  }
  struct Shape {
    int64_t bucket, active;
  };
  std::vector<Shape> shapes;

protected:
  void release(ee::DeviceAddress, uint64_t) override {}
  void releaseHost(uint8_t *, uint64_t) override {}

private:
  std::unique_ptr<ee::Device> inner;
};

TEST(SessionBucketTest, LaunchesComeInBuckets) {
  Model model("exact");
  Workload work(24, 3);
  ee::SessionOptions options;
  options.maxSequences = 12;
  options.maxRows = 100;
  options.sampleRows = 5;
  options.policies = Workload::policies();
  auto device = std::make_unique<RecordingDevice>(model.artifact);
  RecordingDevice &recording = *device;
  auto session =
      ee::Session::create(model.artifact, options, std::move(device));
  ASSERT_TRUE(session) << session.error();
  for (const ee::Request &request : work.requests)
    ASSERT_TRUE((*session)->submit(request));
  ASSERT_TRUE((*session)->drain());
  int64_t padded = 0;
  for (auto [bucket, active] : recording.shapes) {
    ASSERT_GE(active, 1);
    ASSERT_LE(active, bucket);
    // The smallest power of two, or the most there can be.
    if (bucket != 100 && bucket != 5) {
      ASSERT_TRUE(std::has_single_bit(uint64_t(bucket))) << bucket;
      ASSERT_LT(bucket, 2 * active);
    }
    padded += bucket > active;
  }
  EXPECT_GT(padded, 20);
  EXPECT_EQ(model.errors(), 0);
}

/// Waits for one token per script entry, each counted apart.
std::vector<int64_t> waitsPerToken(Model &model, std::vector<int32_t> script) {
  auto session = model.session({});
  EXPECT_TRUE(session);
  ee::Request request;
  request.prompt = {7};
  request.maxNewTokens = int64_t(script.size());
  request.script = script;
  EXPECT_TRUE((*session)->submit(request));
  std::vector<int64_t> result;
  for (bool more = true; more;) {
    int64_t before = (*session)->deviceWaits();
    more = *(*session)->step();
    result.push_back((*session)->deviceWaits() - before);
  }
  return result;
}

class SessionDeviceTest : public testing::TestWithParam<TestDevice> {};

TEST_P(SessionDeviceTest, OneWaitPerDecisionAndToken) {
  Model model("exact", GetParam());
  // The first exit decides once; late exits and the full depth twice.
  EXPECT_EQ(waitsPerToken(model, {0, 1, -2}), (std::vector<int64_t>{2, 3, 3}));
  // Filling the KV of skipped layers adds launches and one wait for all.
  Model filling("propagate", GetParam());
  EXPECT_EQ(waitsPerToken(filling, {0, 1, -2}),
            (std::vector<int64_t>{3, 4, 3}));
}

class GuardedDeviceTest : public testing::Test {
protected:
  GuardedDeviceTest()
      : model("exact"), device(ee::createGuardedCpuDevice(model.artifact, 1)) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
  }
  Model model;
  std::unique_ptr<ee::Device> device;
};

TEST_F(GuardedDeviceTest, TheHostCannotReachDeviceMemory) {
  auto memory = device->allocate(64);
  ASSERT_TRUE(memory);
  volatile uint8_t *pointer = ee::deviceField<uint8_t>(memory->address());
  EXPECT_EXIT((void)pointer[0], testing::KilledBySignal(SIGSEGV), "");
  EXPECT_EXIT(pointer[0] = 1, testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(GuardedDeviceTest, HostMemoryIsTheDevicesUntilTheWait) {
  auto memory = device->allocate(64);
  auto host = device->allocateHost(64);
  ASSERT_TRUE(memory && host);
  ee::Submission s;
  s.downloads.push_back({host->data(), memory->address(), 64});
  auto ticket = device->submit(s);
  ASSERT_TRUE(ticket);
  volatile uint8_t *pointer = host->data();
  EXPECT_EXIT((void)pointer[0], testing::KilledBySignal(SIGSEGV), "");
  ASSERT_TRUE(device->wait(*ticket));
  EXPECT_EQ(pointer[0], 0);
}

TEST_F(GuardedDeviceTest, SubmittedWorkRunsAtTheWait) {
  auto memory = device->allocate(64);
  auto host = device->allocateHost(64);
  ASSERT_TRUE(memory && host);
  ee::Submission fill, read;
  fill.fills.push_back({memory->address(), 64, 7});
  read.downloads.push_back({host->data(), memory->address(), 64});
  ASSERT_TRUE(device->submit(fill));
  auto ticket = device->submit(read);
  ASSERT_TRUE(device->wait(*ticket));
  EXPECT_EQ(host->data()[63], 7);
}

TEST_F(GuardedDeviceTest, WhatIsNotDeviceMemoryIsRefused) {
  auto memory = device->allocate(4096);
  auto host = device->allocateHost(4096);
  ASSERT_TRUE(memory && host);
  ee::DeviceAddress at = memory->address();
  uint8_t mine[64] = {};
  auto refusal = [&](auto change) {
    ee::Submission s;
    change(s);
    auto ticket = device->submit(s);
    return ticket ? std::string() : ticket.error();
  };
  using S = ee::Submission;
  EXPECT_EQ(refusal([&](S &s) { s.uploads.push_back({at, mine, 64}); }),
            "the source of an upload lies outside of the memory of the host "
            "that the device may copy");
  EXPECT_EQ(refusal([&](S &s) {
              s.uploads.push_back({at + 4090, host->data(), 64});
            }),
            "the target of an upload lies outside of the memory of the device");
  EXPECT_EQ(refusal([&](S &s) { s.fills.push_back({at, 4097, 0}); }),
            "a fill lies outside of the memory of the device");
  EXPECT_EQ(refusal([&](S &s) { s.copies.push_back({at, 64, 64}); }),
            "a copy lies outside of the memory of the device");
  EXPECT_EQ(refusal([&](S &s) { s.downloads.push_back({mine, at, 64}); }),
            "the target of a download lies outside of the memory of the host "
            "that the device may copy");
  // A number of rows on the host's stack, as the CPU would accept it.
  int32_t count = 1;
  EXPECT_EQ(refusal([&](S &s) {
              ee::Launch launch;
              launch.args.n_active = &count;
              s.launches.push_back(launch);
            }),
            "n_active of a launch of stage \"s0\" lies outside of the memory "
            "of the device");
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTest, testing::ValuesIn(testDevices),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(Devices, SessionDeviceTest,
                         testing::ValuesIn(testDevices),
                         testing::PrintToStringParamName());

} // namespace

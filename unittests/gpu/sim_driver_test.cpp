// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The driver table over the interpreter: what runs when, and what fails.
#include "SimTest.h"
#include "sim/sim_driver.h"

using namespace ee::gpu;

namespace {

using Words = std::vector<uint32_t>;

// Adds p1 to each of 32 words at p0.
const std::string addText =
    kernelText("mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd2, %rd2, %rd0;\n"
               "cvt.u32.u64 %r1, %rd1;\nld.global.b32 %r2, [%rd2];\n"
               "add.s32 %r2, %r2, %r1;\nst.global.b32 [%rd2], %r2;",
               2);

class SimDriverTest : public testing::Test {
protected:
  SimDriverTest() : sim(options()), driver(sim.table()) {}

  static SimDeviceOptions options() {
    SimDeviceOptions result;
    result.check = true;
    result.memoryBytes = 1 << 20;
    return result;
  }
  FunctionHandle function(const std::string &ptx, const char *name = "k") {
    ModuleHandle module = nullptr;
    FunctionHandle result = nullptr;
    EXPECT_EQ(
        driver.moduleLoadDataEx(&module, ptx.c_str(), 0, nullptr, nullptr),
        Result::Success)
        << driver.report();
    EXPECT_EQ(driver.moduleGetFunction(&result, module, name), Result::Success);
    return result;
  }
  DevicePointer device(size_t bytes) {
    DevicePointer memory = 0;
    EXPECT_EQ(driver.memAlloc(&memory, bytes), Result::Success);
    return memory;
  }
  uint32_t *pinned(size_t count) {
    void *memory = nullptr;
    EXPECT_EQ(driver.memHostAlloc(&memory, count * 4, 0), Result::Success);
    return static_cast<uint32_t *>(memory);
  }
  Result launch(FunctionHandle kernel, std::vector<uint64_t> values,
                StreamHandle stream = nullptr) {
    std::vector<void *> pointers;
    for (uint64_t &value : values)
      pointers.push_back(&value);
    return driver.launchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, stream,
                               pointers.data(), nullptr);
  }

  SimDriver sim;
  const Driver &driver;
};

TEST_F(SimDriverTest, WorkRunsInOrderAtTheWait) {
  FunctionHandle add = function(addText);
  DevicePointer memory = device(128);
  uint32_t *in = pinned(32), *out = pinned(32);
  for (uint32_t i = 0; i < 32; ++i)
    in[i] = i;
  ASSERT_EQ(driver.memcpyHtoDAsync(memory, in, 128, nullptr), Result::Success);
  ASSERT_EQ(launch(add, {memory, 5}), Result::Success);
  ASSERT_EQ(launch(add, {memory, 100}), Result::Success);
  ASSERT_EQ(driver.memcpyDtoHAsync(out, memory, 128, nullptr), Result::Success);
  EXPECT_EQ(sim.pending(), 4u);
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], 0xffff'ffffu) << "visible before the wait";
  in[3] = 1000; // pinned memory is read when the copy runs
  ASSERT_EQ(driver.streamSynchronize(nullptr), Result::Success);
  EXPECT_EQ(sim.pending(), 0u);
  for (uint32_t i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], (i == 3 ? 1000 : i) + 105);
}

TEST_F(SimDriverTest, ADownloadOverTheSourceOfAnUploadComesAfterIt) {
  FunctionHandle add = function(addText);
  DevicePointer memory = device(128);
  uint32_t *both = pinned(32);
  for (uint32_t i = 0; i < 32; ++i)
    both[i] = i;
  ASSERT_EQ(driver.memcpyHtoDAsync(memory, both, 128, nullptr),
            Result::Success);
  ASSERT_EQ(launch(add, {memory, 50}), Result::Success);
  ASSERT_EQ(driver.memcpyDtoHAsync(both, memory, 128, nullptr),
            Result::Success);
  EXPECT_EQ(both[4], 0xffff'ffffu);
  ASSERT_EQ(driver.streamSynchronize(nullptr), Result::Success);
  EXPECT_EQ(both[4], 54u);
}

TEST_F(SimDriverTest, OrdinaryMemoryIsCopiedAtOnce) {
  DevicePointer memory = device(8);
  Words in{1, 2}, out{0, 0};
  ASSERT_EQ(driver.memcpyHtoDAsync(memory, in.data(), 8, nullptr),
            Result::Success);
  in[0] = 7;
  ASSERT_EQ(driver.memcpyDtoHAsync(out.data(), memory, 8, nullptr),
            Result::Success);
  EXPECT_EQ(out, (Words{1, 2}));
}

TEST_F(SimDriverTest, FillsAndCopiesOnTheDevice) {
  DevicePointer a = device(8), b = device(8);
  Words out(2);
  ASSERT_EQ(driver.memsetD8Async(a, 0x5a, 8, nullptr), Result::Success);
  ASSERT_EQ(driver.memcpyDtoDAsync(b, a, 8, nullptr), Result::Success);
  ASSERT_EQ(driver.memcpyDtoHAsync(out.data(), b, 8, nullptr), Result::Success);
  EXPECT_EQ(out, Words(2, 0x5a5a5a5a));
}

TEST_F(SimDriverTest, EventsOrderStreams) {
  FunctionHandle add = function(addText);
  DevicePointer memory = device(128);
  StreamHandle first, second;
  EventHandle written, begun;
  ASSERT_EQ(driver.streamCreate(&first, 0), Result::Success);
  ASSERT_EQ(driver.streamCreate(&second, 0), Result::Success);
  ASSERT_EQ(driver.eventCreate(&written, 0), Result::Success);
  ASSERT_EQ(driver.eventCreate(&begun, 0), Result::Success);
  ASSERT_EQ(driver.eventRecord(begun, first), Result::Success);
  ASSERT_EQ(driver.memsetD8Async(memory, 0, 128, first), Result::Success);
  ASSERT_EQ(driver.eventRecord(written, first), Result::Success);
  ASSERT_EQ(driver.streamWaitEvent(second, written, 0), Result::Success);
  ASSERT_EQ(launch(add, {memory, 4}, second), Result::Success);
  EXPECT_EQ(driver.eventQuery(written), Result::NotReady);
  ASSERT_EQ(driver.streamSynchronize(second), Result::Success);
  EXPECT_EQ(driver.eventQuery(written), Result::Success);
  float time = -1;
  EXPECT_EQ(driver.eventElapsedTime(&time, begun, written), Result::Success);
  EXPECT_GE(time, 0);
  Words out(32);
  ASSERT_EQ(driver.memcpyDtoHAsync(out.data(), memory, 128, second),
            Result::Success);
  EXPECT_EQ(out, Words(32, 4));
  EXPECT_EQ(driver.streamDestroy(first), Result::Success);
  EXPECT_EQ(driver.streamDestroy(first), Result::InvalidValue);
  EXPECT_EQ(launch(add, {memory, 4}, first), Result::InvalidValue);
}

TEST_F(SimDriverTest, HostFunctionsStandForKernels) {
  std::string seen;
  sim.addHostKernel("toy", {2, [&](Dim grid, Dim block, const uint64_t *p) {
                              seen = std::to_string(grid.x * block.x);
                              *reinterpret_cast<uint32_t *>(p[0]) =
                                  uint32_t(p[1]);
                            }});
  FunctionHandle toy =
      function(".version 7.0\n.target sm_80\n.address_size 64", "toy");
  DevicePointer memory = device(4);
  ASSERT_EQ(launch(toy, {memory, 9}), Result::Success);
  EXPECT_EQ(seen, "");
  Words out(1);
  ASSERT_EQ(driver.memcpyDtoHAsync(out.data(), memory, 4, nullptr),
            Result::Success);
  EXPECT_EQ(seen, "32");
  EXPECT_EQ(out[0], 9u);
}

TEST_F(SimDriverTest, AFaultEndsTheContextAndIsExplained) {
  FunctionHandle add = function(addText);
  DevicePointer memory = device(64); // half of what the kernel touches
  ASSERT_EQ(driver.memsetD8Async(memory, 0, 64, nullptr), Result::Success);
  ASSERT_EQ(launch(add, {memory, 1}), Result::Success);
  Result result = driver.streamSynchronize(nullptr);
  EXPECT_EQ(result, Result::IllegalAddress);
  std::string line = driver.explain(result);
  EXPECT_TRUE(contains(line, "fault: kernel k, cta 0, thread 16 ")) << line;
  EXPECT_TRUE(contains(line, "ld.global.b32 %r2, [%rd2]")) << line;
  EXPECT_TRUE(contains(line, "offset 64 of an allocation of 64 bytes")) << line;
  EXPECT_EQ(line.find('\n'), line.npos);
  DevicePointer more = 0;
  EXPECT_EQ(driver.memAlloc(&more, 4), Result::IllegalAddress);
  EXPECT_EQ(launch(add, {memory, 1}), Result::IllegalAddress);
}

TEST_F(SimDriverTest, AFindingOfTheChecksFailsTheWait) {
  FunctionHandle add = function(addText);
  DevicePointer memory = device(128); // never written
  ASSERT_EQ(launch(add, {memory, 1}), Result::Success);
  Result result = driver.streamSynchronize(nullptr);
  EXPECT_EQ(result, Result::LaunchFailed);
  EXPECT_TRUE(contains(driver.explain(result), "check failed: kernel k"));
  EXPECT_TRUE(contains(driver.explain(result), "never written"));
}

TEST_F(SimDriverTest, RefusesModulesThatItCannotRun) {
  auto load = [&](const char *image) {
    ModuleHandle module = nullptr;
    char log[256] = "";
    JitOption names[] = {JitOption::ErrorLogBuffer,
                         JitOption::ErrorLogBufferBytes};
    void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
    Result result = driver.moduleLoadDataEx(&module, image, 2, names, values);
    return std::to_string(int(result)) + " " + log;
  };
  EXPECT_EQ(load("\x7f"
                 "ELF\x02\x01"),
            "200 the simulator runs PTX, no cubins");
  EXPECT_EQ(load(".version 7.8\n.target sm_90\n.address_size 64"),
            "209 the module is for \"sm_90\" and the device has sm_80");
  EXPECT_TRUE(contains(load(".target sm_80\nnonsense"), "218 PTX line 2"));
  ModuleHandle module = nullptr;
  FunctionHandle missing = nullptr;
  ASSERT_EQ(
      driver.moduleLoadDataEx(&module, addText.c_str(), 0, nullptr, nullptr),
      Result::Success);
  EXPECT_EQ(driver.moduleGetFunction(&missing, module, "other"),
            Result::NotFound);
  EXPECT_TRUE(contains(driver.report(), "no kernel \"other\""));
  EXPECT_EQ(driver.moduleUnload(module), Result::Success);
  EXPECT_EQ(driver.moduleUnload(module), Result::InvalidValue);
}

TEST_F(SimDriverTest, MemoryIsCountedAndBounded) {
  DevicePointer memory = device(1 << 19), more = 0;
  EXPECT_EQ(driver.memAlloc(&more, (1 << 19) + 1), Result::OutOfMemory);
  EXPECT_TRUE(contains(driver.report(), "1048576 bytes"));
  EXPECT_EQ(driver.memAlloc(&more, 0), Result::InvalidValue);
  EXPECT_EQ(driver.memAlloc(&more, SIZE_MAX - 4), Result::OutOfMemory);
  size_t free = 0, total = 0;
  ASSERT_EQ(driver.memGetInfo(&free, &total), Result::Success);
  EXPECT_EQ(total - free, size_t(1) << 19);
  Words host(2);
  EXPECT_EQ(
      driver.memcpyHtoDAsync(memory + (1 << 19) - 4, host.data(), 8, nullptr),
      Result::InvalidValue);
  EXPECT_TRUE(contains(driver.report(), "out of bounds"));
  EXPECT_EQ(driver.memFree(memory), Result::Success);
  EXPECT_EQ(driver.memFree(memory), Result::InvalidValue);
  EXPECT_EQ(sim.used(), 0u);
}

TEST_F(SimDriverTest, TellsWhatTheDeviceIs) {
  int count = 0, major = 0, minor = 0, warp = 0;
  char name[32];
  DeviceHandle handle = -1;
  EXPECT_EQ(driver.deviceGetCount(&count), Result::Success);
  EXPECT_EQ(count, 1);
  EXPECT_EQ(driver.deviceGet(&handle, 0), Result::Success);
  EXPECT_EQ(driver.deviceGet(&handle, 1), Result::InvalidDevice);
  driver.deviceGetAttribute(&major, DeviceAttribute::ComputeCapabilityMajor, 0);
  driver.deviceGetAttribute(&minor, DeviceAttribute::ComputeCapabilityMinor, 0);
  driver.deviceGetAttribute(&warp, DeviceAttribute::WarpSize, 0);
  EXPECT_EQ(major * 10 + minor, 80);
  EXPECT_EQ(warp, 32);
  driver.deviceGetName(name, sizeof name, 0);
  EXPECT_STREQ(name, "simulated GPU");
}

} // namespace

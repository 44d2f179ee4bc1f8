// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The GPU device: which code it picks, what kernels are given, and what it
// says when something is wrong. Sessions on it are in the other tests, where
// "sim" is one of the devices.
#include "backends/gpu/gpu.h"
#include "backends/gpu/sim/sim_driver.h"
#include "toy_model.h"

#include <cstring>
#include <gtest/gtest.h>

namespace {
using namespace ee::gpu;
using ee::GpuCode;

GpuCode codeFor(std::vector<int64_t> sms) {
  GpuCode code;
  code.threads = 128;
  for (size_t i = 0; i < sms.size(); ++i)
    code.code.push_back({sms[i], 10 * i, {}});
  return code;
}

TEST(GpuCodeTest, TheHighestSmNotAboveTheDevice) {
  GpuCode code = codeFor({80, 90});
  EXPECT_EQ(chooseCode(code, 80, true)->file, 0u);
  EXPECT_EQ(chooseCode(code, 89, true)->file, 0u);
  EXPECT_EQ(chooseCode(code, 90, true)->file, 10u);
  EXPECT_EQ(chooseCode(code, 120, true)->file, 10u);
  auto none = chooseCode(code, 75, true);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error(), "the artifact has GPU code for sm_80 and later, this "
                          "GPU is sm_75");
}

TEST(GpuCodeTest, ACubinWhereOneFits) {
  GpuCode code = codeFor({80, 90});
  code.code[0].cubins = {{80, 1}, {86, 2}};
  code.code[1].cubins = {{90, 11}};
  auto pick = [&](int sm, bool cubins = true) {
    return chooseCode(code, sm, cubins)->file;
  };
  EXPECT_EQ(pick(80), 1u);
  EXPECT_EQ(pick(86), 2u);
  EXPECT_EQ(pick(89), 2u);
  EXPECT_EQ(pick(90), 11u);
  EXPECT_EQ(pick(100), 10u); // another major version: its PTX
  EXPECT_EQ(pick(86, false), 0u);
  EXPECT_EQ(chooseCode(code, 86, true)->ptx, 0u);
}

/// A device over kernels that only write down what they are given.
class GpuDeviceTest : public testing::Test {
protected:
  GpuDeviceTest() : model("exact") {}

  ee::Expected<std::unique_ptr<ee::Device>> make(const GpuCode &code,
                                                 std::string ptx = "") {
    SimDeviceOptions options;
    options.memoryBytes = 1 << 20;
    driver = std::make_shared<SimDriver>(options);
    driver->addHostKernel(
        "note", {6, [this](Dim grid, Dim block, const uint64_t *values) {
                   note(grid, block, values);
                 }});
    auto gpu = Gpu::open(driver->table(), "sim", driver);
    EXPECT_TRUE(gpu);
    if (ptx.empty())
      ptx = ".version 7.0\n.target sm_80\n.address_size 64\n";
    auto read = [=](size_t) -> ee::Expected<CodeImage> {
      return CodeImage{ptx, "hash"};
    };
    return createGpuDevice(model.artifact, code, read, *gpu);
  }
  void note(Dim grid, Dim block, const uint64_t *values) {
    std::string line = std::to_string(grid.x) + "x" + std::to_string(block.x);
    for (int i = 1; i < 6; ++i)
      line += " " + std::to_string(values[i]);
    notes.push_back(line);
    last = *reinterpret_cast<const ee_stage_args *>(values[0]);
    weight = *static_cast<const uint8_t *>(last.weights[0]);
  }

  toy::Model model;
  std::shared_ptr<SimDriver> driver;
  std::vector<std::string> notes;
  ee_stage_args last = {};
  uint8_t weight = 0;
};

TEST_F(GpuDeviceTest, GoesThroughTheLaunchListOfAStage) {
  GpuCode code = codeFor({80});
  ee::GpuStep once{0, 7, 1, 5, {{"note", 0, 3, {11}}}};
  ee::GpuStep layers{2, 4, 3, 1, {{"note", 40, 1, {12}}, {"note", 1, 0, {13}}}};
  code.stages = {{{once, layers}}};
  auto device = make(code);
  ASSERT_TRUE(device) << device.error();
  EXPECT_STREQ((*device)->name(), "sim");
  EXPECT_EQ((*device)->workers(), 32);
  ee::Submission submission;
  submission.launches.resize(1);
  submission.launches[0].args.max_rows = 8;
  auto ticket = (*device)->submit(submission);
  ASSERT_TRUE(ticket) << ticket.error();
  EXPECT_TRUE(notes.empty()) << "ran before the wait";
  ASSERT_TRUE((*device)->wait(*ticket));
  // grid x threads, KV layer, first weight, items a row, items, offset.
  EXPECT_EQ(notes,
            (std::vector<std::string>{"1x128 0 0 0 3 11", "4x128 1 4 40 1 12",
                                      "1x128 1 4 1 0 13", "4x128 2 7 40 1 12",
                                      "1x128 2 7 1 0 13"}));
  EXPECT_EQ(last.max_rows, 8);
  EXPECT_EQ(last.team, nullptr);
  EXPECT_EQ(weight, 'w');
}

TEST_F(GpuDeviceTest, SaysWhatIsWrongInOneLine) {
  GpuCode code = codeFor({80});
  code.stages = {{{{0, 0, 0, 0, {{"absent", 1, 0, {}}}}}}};
  auto device = make(code);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error(),
            "the GPU cannot find kernel \"absent\": not found: the module has "
            "no kernel \"absent\"");
  code.stages.clear();
  device = make(code, ".target sm_80\n.entry k() { frob.b32; }");
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error(), "the GPU cannot load the artifact's code: invalid "
                            "PTX: PTX line 2: \"frob.b32\": the simulator does "
                            "not know this instruction");
  device = make(codeFor({90}));
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error(), "the artifact has GPU code for sm_90 and later, "
                            "this GPU is sm_80");
  device = make(codeFor({80}));
  ASSERT_TRUE(device);
  auto memory = (*device)->allocate(1 << 21);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error(), "the GPU cannot give 2097152 bytes of memory: out "
                            "of memory: the device has 1048576 bytes");
  auto plain = createGpuDevice(model.artifact, nullptr);
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error(), "the artifact has no code for GPUs: compile it with "
                           "--target=cpu,nvptx, or use --device=cpu");
}

TEST_F(GpuDeviceTest, GivesBackAllMemory) {
  GpuCode code = codeFor({80});
  code.stages = {{{{0, 0, 0, 0, {{"note", 1, 0, {1}}}}}}};
  {
    auto device = make(code);
    ASSERT_TRUE(device);
    auto buffer = (*device)->allocate(100);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->address() % 256, 0u);
    ee::Submission submission;
    submission.launches.resize(2);
    for (int i = 0; i < 3; ++i)
      ASSERT_TRUE((*device)->submit(submission)); // nobody waits for the last
    ASSERT_TRUE((*device)->wait(2));
    EXPECT_EQ(notes.size(), 4u);
  }
  EXPECT_EQ(driver->used(), 0u);
}

TEST_F(GpuDeviceTest, LoadsTheSameCodeOnce) {
  auto sim = std::make_shared<SimDriver>(SimDeviceOptions());
  Driver table = sim->table();
  int loads = 0;
  auto load = table.moduleLoadDataEx;
  table.moduleLoadDataEx = [&](auto... all) { return ++loads, load(all...); };
  auto gpu = *Gpu::open(table, "sim", sim);
  std::string ptx = ".version 7.0\n.target sm_80\n.address_size 64\n";
  {
    auto a = gpu->load(ptx, "a"), again = gpu->load(ptx, "a");
    ASSERT_TRUE(a && again);
    EXPECT_EQ(a->get(), again->get());
    EXPECT_EQ(loads, 1);
    ASSERT_TRUE(gpu->load(ptx, "b"));
    EXPECT_EQ(loads, 2);
  }
  ASSERT_TRUE(gpu->load(ptx, "a")); // it was unloaded with its last user
  EXPECT_EQ(loads, 3);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What can be wrong with a CUDA driver, each in one line.
#include "driver.h"

#include "gtest/gtest.h"

#include <dlfcn.h>

using namespace ee::gpu;

namespace {

class CudaDriver : public testing::Test {
protected:
  void SetUp() override {
    handle = dlopen(EE_FAKE_CUDA, RTLD_NOW);
    ASSERT_TRUE(handle) << dlerror();
  }
  void TearDown() override {
    variable("fake_version") = 12040;
    variable("fake_init") = 0;
    variable("fake_devices") = 1;
    dlclose(handle);
  }
  int &variable(const char *name) {
    return *static_cast<int *>(dlsym(handle, name));
  }
  static std::string error(const std::string &library = EE_FAKE_CUDA) {
    auto driver = openCuda(library);
    std::string text = driver ? "" : driver.error();
    EXPECT_EQ(text.find('\n'), text.npos);
    return text;
  }
  static void expectParts(const std::string &text,
                          std::initializer_list<const char *> parts) {
    for (const char *part : parts)
      EXPECT_NE(text.find(part), text.npos) << part << " in: " << text;
  }

  void *handle = nullptr;
};

TEST_F(CudaDriver, IsFilledFromTheLibrary) {
  auto driver = openCuda(EE_FAKE_CUDA);
  ASSERT_TRUE(driver) << driver.error();
  int version = 0;
  EXPECT_EQ(driver->driverGetVersion(&version), Result::Success);
  EXPECT_EQ(version, 12040);
  EXPECT_TRUE(driver->runsCubins);
#define EXPECT_MEMBER(member, symbol, parameters)                              \
  EXPECT_TRUE(bool(driver->member)) << symbol;
  EE_GPU_DRIVER_FUNCTIONS(EXPECT_MEMBER)
#undef EXPECT_MEMBER
}

TEST_F(CudaDriver, IsNotInstalled) {
  expectParts(error("libno-such-cuda.so.1"),
              {"no CUDA driver: libno-such-cuda.so.1", "--device=sim"});
}

TEST_F(CudaDriver, IsTooOld) {
  variable("fake_version") = 10020;
  expectParts(error(), {"is for CUDA 10.2", "CUDA 11.0 or later is needed"});
}

TEST_F(CudaDriver, LacksASymbol) {
  expectParts(error(EE_FAKE_CUDA_PARTIAL),
              {"has no cuMemAlloc_v2", "CUDA 11.0 or later is needed"});
}

TEST_F(CudaDriver, DoesNotStart) {
  variable("fake_init") = 100;
  expectParts(error(), {"does not start: CUDA_ERROR_NO_DEVICE: no CUDA-capable "
                        "device is detected"});
  variable("fake_init") = 803;
  expectParts(error(), {"does not start: error 803"});
}

TEST_F(CudaDriver, FindsNoGpu) {
  variable("fake_devices") = 0;
  expectParts(error(), {"finds no GPU"});
}

} // namespace

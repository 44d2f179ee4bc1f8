// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The driver table over libcuda, which is looked up when a GPU is asked for:
// the same program runs where no driver is installed.
#include "driver.h"

#include <dlfcn.h>

namespace ee::gpu {
namespace {

// CUDA 11.0 is the first that knows PTX 7.0 and sm_80.
constexpr int oldestVersion = 11000;

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." +
         std::to_string(version % 1000 / 10);
}

std::string oneLine(std::string text) {
  for (char &c : text)
    if (c == '\n' || c == '\r')
      c = ' ';
  while (!text.empty() && text.back() == ' ')
    text.pop_back();
  return text;
}

} // namespace

std::string Driver::explain(Result result) const {
  const char *name = nullptr, *text = nullptr;
  std::string line = "error " + std::to_string(int(result));
  if (getErrorName && getErrorName(result, &name) == Result::Success && name)
    line = name;
  if (getErrorString && getErrorString(result, &text) == Result::Success &&
      text)
    line += std::string(": ") + text;
  std::string more = report ? report() : "";
  return oneLine(more.empty() ? line : line + ": " + more);
}

Expected<Driver> openCuda(const std::string &library) {
  const char *instead = "; --device=cpu and --device=sim need no GPU";
  // Never closed: the driver keeps threads of its own.
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return Failure{"no CUDA driver: " + oneLine(dlerror()) + instead};
  Driver driver;
  const char *missing = nullptr;
#define EE_GPU_LOAD(member, symbol, parameters)                                \
  if (void *found = dlsym(handle, symbol))                                     \
    driver.member = reinterpret_cast<Result(*) parameters>(found);             \
  else if (!missing)                                                           \
    missing = symbol;
  EE_GPU_DRIVER_FUNCTIONS(EE_GPU_LOAD)
#undef EE_GPU_LOAD
  const std::string needed =
      "; CUDA " + versionText(oldestVersion) + " or later is needed" + instead;
  if (missing)
    return Failure{"the CUDA driver " + library + " has no " + missing +
                   needed};
  int version = 0;
  if (Result result = driver.driverGetVersion(&version);
      result != Result::Success)
    return Failure{"the CUDA driver does not tell its version: " +
                   driver.explain(result) + instead};
  if (version < oldestVersion)
    return Failure{"the CUDA driver is for CUDA " + versionText(version) +
                   needed};
  if (Result result = driver.init(0); result != Result::Success)
    return Failure{"the CUDA driver does not start: " + driver.explain(result) +
                   instead};
  int count = 0;
  if (Result result = driver.deviceGetCount(&count);
      result != Result::Success || count == 0)
    return Failure{std::string("the CUDA driver finds no GPU") + instead};
  return driver;
}

} // namespace ee::gpu

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A library with the symbols of libcuda and no GPU behind them. The test sets
// the variables to say what is wrong.

extern "C" {

int fake_version = 12040, fake_init = 0, fake_devices = 1;

int cuInit(unsigned) { return fake_init; }
int cuDriverGetVersion(int *version) { return *version = fake_version, 0; }
int cuDeviceGetCount(int *count) { return *count = fake_devices, 0; }
int cuGetErrorName(int error, const char **name) {
  *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : nullptr;
  return *name ? 0 : 1;
}
int cuGetErrorString(int error, const char **text) {
  *text = error == 100 ? "no CUDA-capable device\nis detected" : nullptr;
  return *text ? 0 : 1;
}

#define FAKE(symbol)                                                           \
  int symbol() { return 0; }
FAKE(cuDeviceGet)
FAKE(cuDeviceGetName)
FAKE(cuDeviceGetAttribute)
FAKE(cuDeviceTotalMem_v2)
FAKE(cuDevicePrimaryCtxRetain)
FAKE(cuDevicePrimaryCtxRelease_v2)
FAKE(cuCtxSetCurrent)
FAKE(cuCtxSynchronize)
FAKE(cuModuleLoadDataEx)
FAKE(cuModuleUnload)
FAKE(cuModuleGetFunction)
FAKE(cuFuncGetAttribute)
FAKE(cuFuncSetAttribute)
FAKE(cuMemGetInfo_v2)
#ifndef EE_FAKE_PARTIAL
FAKE(cuMemAlloc_v2)
#endif
FAKE(cuMemFree_v2)
FAKE(cuMemHostAlloc)
FAKE(cuMemFreeHost)
FAKE(cuMemsetD8Async)
FAKE(cuMemcpyHtoDAsync_v2)
FAKE(cuMemcpyDtoHAsync_v2)
FAKE(cuMemcpyDtoDAsync_v2)
FAKE(cuStreamCreate)
FAKE(cuStreamDestroy_v2)
FAKE(cuStreamSynchronize)
FAKE(cuStreamWaitEvent)
FAKE(cuEventCreate)
FAKE(cuEventRecord)
FAKE(cuEventQuery)
FAKE(cuEventSynchronize)
FAKE(cuEventElapsedTime)
FAKE(cuEventDestroy_v2)
FAKE(cuLaunchKernel)
}

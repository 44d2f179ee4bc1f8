// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The functions of a GPU driver that the backend calls, named and typed after
// the CUDA driver API. `openCuda` fills the table from libcuda, `SimDriver`
// from the interpreter; the code above cannot tell which it has. The
// declarations are our own: no SDK is needed to build.
#ifndef EE_GPU_DRIVER_H
#define EE_GPU_DRIVER_H

#include "ee/result.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace ee::gpu {

/// CUresult. Only what the code tells apart; others keep their number.
enum class Result : int {
  Success = 0,
  InvalidValue = 1,
  OutOfMemory = 2,
  NotInitialised = 3,
  NoDevice = 100,
  InvalidDevice = 101,
  InvalidImage = 200,
  NoBinaryForGpu = 209,
  InvalidPtx = 218,
  UnsupportedPtxVersion = 222,
  NotFound = 500,
  NotReady = 600,
  IllegalAddress = 700,
  LaunchFailed = 719,
};

using DevicePointer = uint64_t;
using DeviceHandle = int;
using ContextHandle = struct ContextState *;
using ModuleHandle = struct ModuleState *;
using FunctionHandle = struct FunctionState *;
using StreamHandle = struct StreamState *;
using EventHandle = struct EventState *;

/// CUdevice_attribute.
enum class DeviceAttribute : int {
  MaxThreadsPerBlock = 1,
  WarpSize = 10,
  MultiprocessorCount = 16,
  ComputeCapabilityMajor = 75,
  ComputeCapabilityMinor = 76,
  MaxSharedMemoryPerBlockOptin = 97,
};

/// CUfunction_attribute.
enum class FunctionAttribute : int {
  MaxThreadsPerBlock = 0,
  SharedBytes = 1,
  LocalBytes = 3,
  Registers = 4,
  MaxDynamicSharedBytes = 8,
};

/// CUjit_option.
enum class JitOption : int { ErrorLogBuffer = 5, ErrorLogBufferBytes = 6 };

// X(member, symbol of libcuda, parameters)
#define EE_GPU_DRIVER_FUNCTIONS(X)                                             \
  X(init, "cuInit", (unsigned flags))                                          \
  X(driverGetVersion, "cuDriverGetVersion", (int *version))                    \
  X(getErrorName, "cuGetErrorName", (Result error, const char **text))         \
  X(getErrorString, "cuGetErrorString", (Result error, const char **text))     \
  X(deviceGetCount, "cuDeviceGetCount", (int *count))                          \
  X(deviceGet, "cuDeviceGet", (DeviceHandle * device, int ordinal))            \
  X(deviceGetName, "cuDeviceGetName",                                          \
    (char *name, int bytes, DeviceHandle device))                              \
  X(deviceGetAttribute, "cuDeviceGetAttribute",                                \
    (int *value, DeviceAttribute attribute, DeviceHandle device))              \
  X(deviceTotalMem, "cuDeviceTotalMem_v2",                                     \
    (size_t *bytes, DeviceHandle device))                                      \
  X(devicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain",                        \
    (ContextHandle * context, DeviceHandle device))                            \
  X(devicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2",                   \
    (DeviceHandle device))                                                     \
  X(ctxSetCurrent, "cuCtxSetCurrent", (ContextHandle context))                 \
  X(ctxSynchronize, "cuCtxSynchronize", ())                                    \
  X(moduleLoadDataEx, "cuModuleLoadDataEx",                                    \
    (ModuleHandle * module, const void *image, unsigned options,               \
     JitOption *names, void **values))                                         \
  X(moduleUnload, "cuModuleUnload", (ModuleHandle module))                     \
  X(moduleGetFunction, "cuModuleGetFunction",                                  \
    (FunctionHandle * function, ModuleHandle module, const char *name))        \
  X(funcGetAttribute, "cuFuncGetAttribute",                                    \
    (int *value, FunctionAttribute attribute, FunctionHandle function))        \
  X(funcSetAttribute, "cuFuncSetAttribute",                                    \
    (FunctionHandle function, FunctionAttribute attribute, int value))         \
  X(memGetInfo, "cuMemGetInfo_v2", (size_t *free, size_t *total))              \
  X(memAlloc, "cuMemAlloc_v2", (DevicePointer * memory, size_t bytes))         \
  X(memFree, "cuMemFree_v2", (DevicePointer memory))                           \
  X(memHostAlloc, "cuMemHostAlloc",                                            \
    (void **memory, size_t bytes, unsigned flags))                             \
  X(memFreeHost, "cuMemFreeHost", (void *memory))                              \
  X(memsetD8Async, "cuMemsetD8Async",                                          \
    (DevicePointer to, unsigned char value, size_t bytes,                      \
     StreamHandle stream))                                                     \
  X(memcpyHtoDAsync, "cuMemcpyHtoDAsync_v2",                                   \
    (DevicePointer to, const void *from, size_t bytes, StreamHandle stream))   \
  X(memcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                   \
    (void *to, DevicePointer from, size_t bytes, StreamHandle stream))         \
  X(memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2",                                   \
    (DevicePointer to, DevicePointer from, size_t bytes, StreamHandle stream)) \
  X(streamCreate, "cuStreamCreate", (StreamHandle * stream, unsigned flags))   \
  X(streamDestroy, "cuStreamDestroy_v2", (StreamHandle stream))                \
  X(streamSynchronize, "cuStreamSynchronize", (StreamHandle stream))           \
  X(streamWaitEvent, "cuStreamWaitEvent",                                      \
    (StreamHandle stream, EventHandle event, unsigned flags))                  \
  X(eventCreate, "cuEventCreate", (EventHandle * event, unsigned flags))       \
  X(eventRecord, "cuEventRecord", (EventHandle event, StreamHandle stream))    \
  X(eventQuery, "cuEventQuery", (EventHandle event))                           \
  X(eventSynchronize, "cuEventSynchronize", (EventHandle event))               \
  X(eventElapsedTime, "cuEventElapsedTime",                                    \
    (float *milliseconds, EventHandle begin, EventHandle end))                 \
  X(eventDestroy, "cuEventDestroy_v2", (EventHandle event))                    \
  X(launchKernel, "cuLaunchKernel",                                            \
    (FunctionHandle function, unsigned gridX, unsigned gridY, unsigned gridZ,  \
     unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,  \
     StreamHandle stream, void **parameters, void **extra))

struct Driver {
#define EE_GPU_MEMBER(member, symbol, parameters)                              \
  std::function<Result parameters> member;
  EE_GPU_DRIVER_FUNCTIONS(EE_GPU_MEMBER)
#undef EE_GPU_MEMBER

  /// More about the last failure than its number says, or nothing.
  std::function<std::string()> report;
  /// False where only PTX runs.
  bool runsCubins = true;

  /// "CUDA_ERROR_...: text" and the report, on one line.
  std::string explain(Result result) const;
};

/// The table over libcuda, initialised. Fails with one line where there is no
/// driver, it is too old, or it finds no GPU.
Expected<Driver> openCuda(const std::string &library = "libcuda.so.1");

} // namespace ee::gpu

#endif // EE_GPU_DRIVER_H

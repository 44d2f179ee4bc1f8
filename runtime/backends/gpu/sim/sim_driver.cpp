// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Streams, modules and memory of the simulated driver; see sim_driver.h.
#include "sim_driver.h"

#include "ee/file.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>

namespace ee::gpu {

struct StreamState {
  std::deque<std::function<Result()>> work;
};

struct EventState {
  StreamState *stream = nullptr;
  bool recorded = false, done = false;
  std::chrono::steady_clock::time_point at;
};

struct FunctionState {
  const Kernel *kernel = nullptr;
  const Module *module = nullptr;
  HostKernel *host = nullptr;
};

struct ModuleState {
  std::unique_ptr<Module> module;
  std::map<std::string, FunctionState> functions;
};

struct ContextState {};

namespace {

/// An upload from pinned memory that has not run.
struct Upload {
  const uint8_t *from;
  size_t bytes;
  std::vector<uint8_t> kept; // what it must read, if that was overwritten
};

} // namespace

struct SimDriver::State {
  explicit State(SimDeviceOptions options)
      : options(options), machine(options), pinned(options.check) {
    streams[nullptr] = std::make_unique<StreamState>();
    fill();
  }

  void fill();
  void fillDevice();
  void fillModules();
  void fillFunctions();
  void fillMemory();
  void fillCopies();
  void fillStreams();
  void fillLaunches();
  void fillEvents();

  Result fail(Result result, std::string why) {
    text = std::move(why);
    return result;
  }
  StreamState *find(StreamHandle stream) {
    auto it = streams.find(stream);
    return it == streams.end() ? nullptr : it->second.get();
  }
  /// A fault ends the context: every later call gives it again.
  Result enqueue(StreamHandle stream, std::function<Result()> work) {
    if (broken != Result::Success)
      return broken;
    StreamState *queue = find(stream);
    if (!queue)
      return fail(Result::InvalidValue, "no such stream");
    queue->work.push_back(std::move(work));
    return Result::Success;
  }
  template <typename Until> Result run(StreamState &stream, Until until) {
    while (broken == Result::Success && !until() && !stream.work.empty()) {
      auto work = std::move(stream.work.front());
      stream.work.pop_front();
      if (Result result = work(); result != Result::Success)
        broken = result;
    }
    return broken;
  }
  Result runAll() {
    for (auto &[handle, stream] : streams)
      run(*stream, [] { return false; });
    return broken;
  }
  Result checkCopy(DevicePointer memory, size_t bytes) {
    if (bytes == 0 || machine.memory.find(memory, bytes))
      return Result::Success;
    return fail(Result::InvalidValue,
                "a copy is out of bounds: " +
                    machine.memory.explain(memory, bytes));
  }
  Result load(ModuleHandle *out, const char *image, std::string &log);
  Result launch(const FunctionState &function, Dim grid, Dim block,
                uint32_t shared, const std::vector<uint8_t> &parameters);
  void poison(uint8_t *memory, size_t bytes);

  const SimDeviceOptions options;
  Machine machine;
  Memory pinned;
  Driver driver;
  ContextState context;
  std::map<StreamHandle, std::unique_ptr<StreamState>> streams;
  std::map<EventHandle, std::unique_ptr<EventState>> events;
  std::map<ModuleHandle, std::unique_ptr<ModuleState>> modules;
  std::map<std::string, HostKernel> hostKernels;
  std::vector<std::weak_ptr<Upload>> uploads;
  Result broken = Result::Success;
  std::string text;
};

SimDriver::SimDriver(SimDeviceOptions options)
    : state(std::make_unique<State>(options)) {}
SimDriver::~SimDriver() = default;
const Driver &SimDriver::table() const { return state->driver; }
Machine &SimDriver::machine() { return state->machine; }
uint64_t SimDriver::used() const { return state->machine.memory.used(); }

void SimDriver::addHostKernel(const std::string &name, HostKernel kernel) {
  state->hostKernels[name] = std::move(kernel);
}

size_t SimDriver::pending() const {
  size_t count = 0;
  for (auto &[handle, stream] : state->streams)
    count += stream->work.size();
  return count;
}

void SimDriver::State::fill() {
  driver.runsCubins = false;
  driver.report = [this] { return text; };
  driver.getErrorName = [](Result error, const char **name) {
    static const std::map<Result, const char *> names = {
        {Result::Success, "success"},
        {Result::InvalidValue, "invalid value"},
        {Result::OutOfMemory, "out of memory"},
        {Result::InvalidDevice, "invalid device"},
        {Result::InvalidImage, "invalid image"},
        {Result::NoBinaryForGpu, "no code for this device"},
        {Result::InvalidPtx, "invalid PTX"},
        {Result::NotFound, "not found"},
        {Result::NotReady, "not ready"},
        {Result::IllegalAddress, "fault"},
        {Result::LaunchFailed, "check failed"}};
    auto it = names.find(error);
    *name = it == names.end() ? nullptr : it->second;
    return *name ? Result::Success : Result::InvalidValue;
  };
  driver.getErrorString = [](Result, const char **string) {
    *string = nullptr; // the report says it
    return Result::InvalidValue;
  };
  fillDevice();
  fillModules();
  fillFunctions();
  fillMemory();
  fillCopies();
  fillStreams();
  fillLaunches();
  fillEvents();
}

void SimDriver::State::fillDevice() {
  driver.init = [](unsigned) { return Result::Success; };
  driver.driverGetVersion = [](int *version) {
    *version = 13000;
    return Result::Success;
  };
  driver.deviceGetCount = [](int *count) {
    *count = 1;
    return Result::Success;
  };
  driver.deviceGet = [this](DeviceHandle *device, int ordinal) {
    *device = 0;
    return ordinal == 0 ? Result::Success
                        : fail(Result::InvalidDevice, "there is one device");
  };
  driver.deviceGetName = [](char *name, int bytes, DeviceHandle) {
    std::snprintf(name, size_t(bytes), "simulated GPU");
    return Result::Success;
  };
  driver.deviceGetAttribute = [this](int *value, DeviceAttribute attribute,
                                     DeviceHandle) {
    static const std::map<DeviceAttribute, int> fixed = {
        {DeviceAttribute::MaxThreadsPerBlock, 1024},
        {DeviceAttribute::WarpSize, warpLanes},
        // Few, as CTAs run one after another; not one, as they must not race.
        {DeviceAttribute::MultiprocessorCount, 2},
        {DeviceAttribute::MaxSharedMemoryPerBlockOptin, 232448}};
    auto it = fixed.find(attribute);
    if (it != fixed.end())
      *value = it->second;
    else if (attribute == DeviceAttribute::ComputeCapabilityMajor)
      *value = options.sm / 10;
    else if (attribute == DeviceAttribute::ComputeCapabilityMinor)
      *value = options.sm % 10;
    else
      return fail(Result::InvalidValue, "no such attribute");
    return Result::Success;
  };
  driver.deviceTotalMem = [this](size_t *bytes, DeviceHandle) {
    *bytes = options.memoryBytes;
    return Result::Success;
  };
  driver.devicePrimaryCtxRetain = [this](ContextHandle *out, DeviceHandle) {
    *out = &context;
    return Result::Success;
  };
  driver.devicePrimaryCtxRelease = [](DeviceHandle) { return Result::Success; };
  driver.ctxSetCurrent = [](ContextHandle) { return Result::Success; };
  driver.ctxSynchronize = [this] { return runAll(); };
}

Result SimDriver::State::load(ModuleHandle *out, const char *image,
                              std::string &log) {
  if (std::memcmp(image,
                  "\x7f"
                  "ELF",
                  4) == 0) {
    log = "the simulator runs PTX, no cubins";
    return Result::InvalidImage;
  }
  auto parsed = machine.load(image);
  if (!parsed) {
    log = parsed.error();
    return Result::InvalidPtx;
  }
  const std::string &target = (*parsed)->target;
  int sm = 0;
  if (target.substr(0, 3) == "sm_")
    std::from_chars(target.data() + 3, target.data() + target.size(), sm);
  if (sm == 0 || sm > options.sm) {
    log = "the module is for " + inQuotes(target) + " and the device has sm_" +
          std::to_string(options.sm);
    machine.unload(**parsed);
    return Result::NoBinaryForGpu;
  }
  auto owned = std::make_unique<ModuleState>();
  owned->module = std::move(*parsed);
  for (auto &[name, kernel] : owned->module->kernels)
    owned->functions[name] = {&kernel, owned->module.get(), nullptr};
  *out = owned.get();
  modules[*out] = std::move(owned);
  return Result::Success;
}

void SimDriver::State::fillModules() {
  driver.moduleLoadDataEx = [this](ModuleHandle *module, const void *image,
                                   unsigned count, JitOption *names,
                                   void **values) {
    std::string log;
    Result result = load(module, static_cast<const char *>(image), log);
    char *buffer = nullptr;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; ++i) {
      if (names[i] == JitOption::ErrorLogBuffer)
        buffer = static_cast<char *>(values[i]);
      if (names[i] == JitOption::ErrorLogBufferBytes)
        bytes = reinterpret_cast<size_t>(values[i]);
    }
    if (buffer && bytes > 0)
      std::snprintf(buffer, bytes, "%s", log.c_str());
    text = std::move(log);
    return result;
  };
  driver.moduleUnload = [this](ModuleHandle module) {
    auto it = modules.find(module);
    if (it == modules.end())
      return fail(Result::InvalidValue, "no such module");
    runAll();
    machine.unload(*it->second->module);
    modules.erase(it);
    return Result::Success;
  };
}

void SimDriver::State::fillFunctions() {
  driver.moduleGetFunction = [this](FunctionHandle *function,
                                    ModuleHandle module, const char *name) {
    auto it = modules.find(module);
    if (it == modules.end())
      return fail(Result::InvalidValue, "no such module");
    auto &functions = it->second->functions;
    auto found = functions.find(name);
    auto host = hostKernels.find(name);
    if (found == functions.end() && host == hostKernels.end())
      return fail(Result::NotFound,
                  "the module has no kernel " + inQuotes(name));
    if (found == functions.end())
      found = functions
                  .emplace(name, FunctionState{nullptr, nullptr, &host->second})
                  .first;
    *function = &found->second;
    return Result::Success;
  };
  driver.funcGetAttribute = [this](int *value, FunctionAttribute attribute,
                                   FunctionHandle function) {
    const Kernel *kernel = function->kernel;
    if (attribute == FunctionAttribute::MaxThreadsPerBlock)
      *value = 1024;
    else if (attribute == FunctionAttribute::SharedBytes)
      *value = kernel ? int(kernel->sharedBytes) : 0;
    else if (attribute == FunctionAttribute::LocalBytes)
      *value = kernel ? int(kernel->localBytes) : 0;
    else
      return fail(Result::InvalidValue, "no such attribute");
    return Result::Success;
  };
  driver.funcSetAttribute = [](FunctionHandle, FunctionAttribute, int) {
    return Result::Success;
  };
}

void SimDriver::State::fillMemory() {
  driver.memGetInfo = [this](size_t *free, size_t *total) {
    *total = options.memoryBytes;
    *free = options.memoryBytes - machine.memory.used();
    return Result::Success;
  };
  driver.memAlloc = [this](DevicePointer *memory, size_t bytes) {
    if (broken != Result::Success)
      return broken;
    if (bytes > options.memoryBytes - machine.memory.used())
      return fail(Result::OutOfMemory, "the device has " +
                                           std::to_string(options.memoryBytes) +
                                           " bytes");
    auto address = machine.memory.allocate(
        bytes, "an allocation of " + std::to_string(bytes) + " bytes");
    if (!address)
      return fail(bytes ? Result::OutOfMemory : Result::InvalidValue,
                  address.error());
    *memory = *address;
    return Result::Success;
  };
  driver.memFree = [this](DevicePointer memory) {
    runAll(); // as the driver does
    if (auto freed = machine.memory.release(memory); !freed)
      return fail(Result::InvalidValue, freed.error());
    return Result::Success;
  };
  driver.memHostAlloc = [this](void **memory, size_t bytes, unsigned) {
    auto address = pinned.allocate(bytes, "pinned memory");
    if (!address)
      return fail(bytes ? Result::OutOfMemory : Result::InvalidValue,
                  address.error());
    *memory = reinterpret_cast<void *>(*address);
    return Result::Success;
  };
  driver.memFreeHost = [this](void *memory) {
    runAll();
    auto freed = pinned.release(reinterpret_cast<uint64_t>(memory));
    return freed ? Result::Success : fail(Result::InvalidValue, freed.error());
  };
}

/// Uploads that come first still read what is there now.
void SimDriver::State::poison(uint8_t *memory, size_t bytes) {
  std::erase_if(uploads, [](auto &upload) { return upload.expired(); });
  for (auto &each : uploads) {
    auto upload = each.lock();
    bool apart = upload->from + upload->bytes <= memory ||
                 memory + bytes <= upload->from;
    if (!apart && upload->kept.empty())
      upload->kept.assign(upload->from, upload->from + upload->bytes);
  }
  std::memset(memory, Memory::poison, bytes);
}

void SimDriver::State::fillCopies() {
  driver.memsetD8Async = [this](DevicePointer to, unsigned char value,
                                size_t bytes, StreamHandle stream) {
    if (Result result = checkCopy(to, bytes); result != Result::Success)
      return result;
    return enqueue(stream, [=, this] {
      std::memset(reinterpret_cast<void *>(to), value, bytes);
      machine.memory.written(to, bytes);
      return Result::Success;
    });
  };
  driver.memcpyHtoDAsync = [this](DevicePointer to, const void *from,
                                  size_t bytes, StreamHandle stream) {
    if (Result result = checkCopy(to, bytes); result != Result::Success)
      return result;
    // Pinned memory is read when the copy runs, other memory at once.
    auto upload = std::make_shared<Upload>();
    upload->from = static_cast<const uint8_t *>(from);
    upload->bytes = bytes;
    if (bytes > 0 && pinned.find(reinterpret_cast<uint64_t>(from), bytes))
      uploads.push_back(upload);
    else
      upload->kept.assign(upload->from, upload->from + bytes);
    return enqueue(stream, [=, this] {
      const uint8_t *data =
          upload->kept.empty() ? upload->from : upload->kept.data();
      std::memcpy(reinterpret_cast<void *>(to), data, bytes);
      machine.memory.written(to, bytes);
      return Result::Success;
    });
  };
  driver.memcpyDtoHAsync = [this](void *to, DevicePointer from, size_t bytes,
                                  StreamHandle stream) {
    if (Result result = checkCopy(from, bytes); result != Result::Success)
      return result;
    if (bytes == 0)
      return Result::Success;
    bool later = pinned.find(reinterpret_cast<uint64_t>(to), bytes);
    if (later) // who reads it before it waits shall see that it did
      poison(static_cast<uint8_t *>(to), bytes);
    Result result = enqueue(stream, [=] {
      std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
      return Result::Success;
    });
    // A copy into other memory is complete when the call returns.
    if (result == Result::Success && !later)
      result = run(*find(stream), [] { return false; });
    return result;
  };
  driver.memcpyDtoDAsync = [this](DevicePointer to, DevicePointer from,
                                  size_t bytes, StreamHandle stream) {
    for (DevicePointer end : {to, from})
      if (Result result = checkCopy(end, bytes); result != Result::Success)
        return result;
    return enqueue(stream, [=, this] {
      std::memmove(reinterpret_cast<void *>(to),
                   reinterpret_cast<const void *>(from), bytes);
      machine.memory.written(to, bytes);
      return Result::Success;
    });
  };
}

Result SimDriver::State::launch(const FunctionState &function, Dim grid,
                                Dim block, uint32_t shared,
                                const std::vector<uint8_t> &parameters) {
  if (function.host) {
    std::vector<uint64_t> words(parameters.size() / 8);
    std::memcpy(words.data(), parameters.data(), parameters.size());
    function.host->run(grid, block, words.data());
    return Result::Success;
  }
  auto done = machine.launch(*function.kernel, *function.module, grid, block,
                             shared, parameters);
  if (!done)
    return fail(Result::IllegalAddress, done.error());
  if (!machine.findings.empty())
    return fail(Result::LaunchFailed, machine.findings.front().text);
  return Result::Success;
}

void SimDriver::State::fillStreams() {
  driver.streamCreate = [this](StreamHandle *stream, unsigned) {
    auto owned = std::make_unique<StreamState>();
    *stream = owned.get();
    streams[*stream] = std::move(owned);
    return Result::Success;
  };
  driver.streamSynchronize = [this](StreamHandle stream) {
    StreamState *queue = find(stream);
    return queue ? run(*queue, [] { return false; })
                 : fail(Result::InvalidValue, "no such stream");
  };
  driver.streamDestroy = [this](StreamHandle stream) {
    StreamState *queue = find(stream);
    if (!queue || !stream)
      return fail(Result::InvalidValue, "no such stream");
    run(*queue, [] { return false; });
    streams.erase(stream);
    return Result::Success;
  };
  driver.streamWaitEvent = [this](StreamHandle stream, EventHandle event,
                                  unsigned) {
    if (!event->recorded)
      return Result::Success;
    return enqueue(stream, [=, this] {
      return run(*event->stream, [=] { return event->done; });
    });
  };
}

void SimDriver::State::fillLaunches() {
  driver.launchKernel = [this](FunctionHandle function, unsigned gridX,
                               unsigned gridY, unsigned gridZ, unsigned blockX,
                               unsigned blockY, unsigned blockZ,
                               unsigned shared, StreamHandle stream,
                               void **values, void **extra) {
    if (extra)
      return fail(Result::InvalidValue, "extra launch options");
    std::vector<uint8_t> bytes(function->host
                                   ? function->host->parameters * 8
                                   : function->kernel->parameterBytes);
    if (function->host)
      for (size_t i = 0; i < function->host->parameters; ++i)
        std::memcpy(bytes.data() + 8 * i, values[i], 8);
    else
      for (size_t i = 0; i < function->kernel->parameters.size(); ++i) {
        const Parameter &parameter = function->kernel->parameters[i];
        std::memcpy(bytes.data() + parameter.offset, values[i],
                    parameter.bytes);
      }
    return enqueue(stream, [=, this, bytes = std::move(bytes)] {
      return launch(*function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ},
                    shared, bytes);
    });
  };
}

void SimDriver::State::fillEvents() {
  driver.eventCreate = [this](EventHandle *event, unsigned) {
    auto owned = std::make_unique<EventState>();
    *event = owned.get();
    events[*event] = std::move(owned);
    return Result::Success;
  };
  driver.eventRecord = [this](EventHandle event, StreamHandle stream) {
    event->stream = find(stream);
    event->recorded = true;
    event->done = false;
    return enqueue(stream, [=] {
      event->at = std::chrono::steady_clock::now();
      event->done = true;
      return Result::Success;
    });
  };
  // A query lets nothing run: who polls without waiting polls for ever.
  driver.eventQuery = [this](EventHandle event) {
    if (broken != Result::Success)
      return broken;
    return !event->recorded || event->done ? Result::Success : Result::NotReady;
  };
  driver.eventSynchronize = [this](EventHandle event) {
    if (!event->recorded)
      return broken;
    return run(*event->stream, [=] { return event->done; });
  };
  driver.eventElapsedTime = [this](float *milliseconds, EventHandle begin,
                                   EventHandle end) {
    if (!begin->done || !end->done)
      return fail(Result::NotReady, "an event has not happened");
    *milliseconds =
        std::chrono::duration<float, std::milli>(end->at - begin->at).count();
    return Result::Success;
  };
  driver.eventDestroy = [this](EventHandle event) {
    return events.erase(event) ? Result::Success
                               : fail(Result::InvalidValue, "no such event");
  };
}

} // namespace ee::gpu

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Submissions on a GPU: one stream, in which copies and the launch lists of
// the manifest are enqueued, and one event to wait for. See gpu.h.
#include "ee/checked.h"
#include "gpu.h"

#include <algorithm>
#include <cstring>
#include <deque>

namespace ee::gpu {
namespace {

constexpr uint64_t maxCodeBytes = uint64_t(1) << 30;
constexpr int64_t itemThreads = 16; // half a warp works on an item
/// How many CTAs of a launch an SM holds at least; more items than they take
/// are done in turns, so scratch is needed for so many only.
constexpr int64_t ctasPerProcessor = 2;
constexpr unsigned blockingEvent = 1, untimedEvent = 2; // CU_EVENT_*

/// A launch as the driver takes it. The first parameter is the address of the
/// stage arguments.
struct PreparedLaunch {
  FunctionHandle function = nullptr;
  uint64_t itemsPerRow = 0, itemsFixed = 0;
  std::vector<uint64_t> parameters;
};

/// The stage arguments of a submission, on both sides.
struct ArgumentBlock {
  HostBuffer host;
  Buffer device;
};

/// A submission that nobody has waited for.
struct InFlight {
  uint64_t ticket = 0;
  EventHandle event = nullptr;
  ArgumentBlock arguments;
};

class GpuDevice final : public Device {
public:
  GpuDevice(const Artifact &artifact, int64_t threads, std::shared_ptr<Gpu> gpu)
      : artifact(artifact), gpu(std::move(gpu)), driver(this->gpu->driver()),
        threads(threads),
        ctas(this->gpu->multiprocessors() * ctasPerProcessor) {}
  ~GpuDevice() override;

  Expected<void> start(const GpuCode &code, const ReadCode &read);

  const char *name() const override { return gpu->name(); }
  int64_t workers() const override { return ctas * (threads / itemThreads); }
  Expected<Buffer> allocate(uint64_t bytes) override;
  Expected<HostBuffer> allocateHost(uint64_t bytes) override;
  Expected<uint64_t> submit(const Submission &submission) override;
  Expected<void> wait(uint64_t ticket) override;

protected:
  void release(DeviceAddress address, uint64_t bytes) override;
  void releaseHost(uint8_t *data, uint64_t bytes) override;

private:
  Expected<void> loadCode(const GpuCode &code, const ReadCode &read);
  Expected<void> prepare(const GpuStage &stage);
  Expected<void> uploadWeights();
  Expected<ArgumentBlock> argumentBlock(uint64_t bytes);
  Expected<void> enqueue(const Submission &submission,
                         const ArgumentBlock &arguments);
  Expected<void> enqueueCopies(const Submission &submission);
  Expected<void> enqueueLaunch(const Launch &launch, DeviceAddress arguments);
  Expected<void> ok(Result result, const char *what) const {
    if (result != Result::Success)
      return gpu->failed(what, result);
    return {};
  }

  const Artifact &artifact;
  std::shared_ptr<Gpu> gpu;
  const Driver &driver;
  const int64_t threads, ctas;
  std::shared_ptr<LoadedModule> module;
  std::vector<std::vector<PreparedLaunch>> stages;
  StreamHandle stream = nullptr;
  std::vector<Buffer> weights;
  Buffer weightTable;
  std::deque<InFlight> inFlight;
  std::vector<ArgumentBlock> spare;
  uint64_t tickets = 0;
};

GpuDevice::~GpuDevice() {
  if (!gpu->enter())
    return;
  if (stream)
    (void)driver.streamSynchronize(stream);
  for (InFlight &each : inFlight)
    (void)driver.eventDestroy(each.event);
  inFlight.clear();
  spare.clear();
  weights.clear();
  weightTable = Buffer();
  if (stream)
    (void)driver.streamDestroy(stream);
}

Expected<void> GpuDevice::start(const GpuCode &code, const ReadCode &read) {
  if (auto done = gpu->enter(); !done)
    return done;
  if (auto done = ok(driver.streamCreate(&stream, 1), "make a stream"); !done)
    return done;
  if (auto done = loadCode(code, read); !done)
    return done;
  for (const GpuStage &stage : code.stages)
    if (auto done = prepare(stage); !done)
      return done;
  return uploadWeights();
}

Expected<void> GpuDevice::loadCode(const GpuCode &code, const ReadCode &read) {
  auto choice = chooseCode(code, gpu->sm(), driver.runsCubins);
  if (!choice)
    return choice.takeFailure();
  auto load = [&](size_t file) -> Expected<void> {
    auto image = read(file);
    if (!image)
      return image.takeFailure();
    auto loaded = gpu->load(image->bytes, image->sha256);
    if (!loaded)
      return loaded.takeFailure();
    module = std::move(*loaded);
    return {};
  };
  auto loaded = load(choice->file);
  // A driver may be too old for a cubin, and still compile the PTX.
  if (!loaded && choice->ptx)
    return load(*choice->ptx);
  return loaded;
}

Expected<void> GpuDevice::prepare(const GpuStage &stage) {
  std::vector<PreparedLaunch> list;
  for (const GpuStep &step : stage.steps)
    for (int64_t layer = 0; layer < std::max<int64_t>(1, step.repeat); ++layer)
      for (const GpuLaunch &launch : step.launches) {
        auto function = module->function(launch.kernel);
        if (!function)
          return function.takeFailure();
        PreparedLaunch one;
        one.function = *function;
        one.itemsPerRow = uint64_t(launch.itemsPerRow);
        one.itemsFixed = uint64_t(launch.itemsFixed);
        bool repeats = step.repeat > 0;
        one.parameters = {
            0, repeats ? uint64_t(layer + step.firstInLevel) : 0,
            repeats ? uint64_t(step.firstWeight + layer * step.weightStride)
                    : 0,
            one.itemsPerRow, one.itemsFixed};
        one.parameters.insert(one.parameters.end(), launch.offsets.begin(),
                              launch.offsets.end());
        list.push_back(std::move(one));
      }
  stages.push_back(std::move(list));
  return {};
}

Expected<void> GpuDevice::uploadWeights() {
  const auto &entries = artifact.manifest().weights;
  std::vector<uint64_t> addresses;
  for (size_t i = 0; i < entries.size(); ++i) {
    auto buffer = allocate(uint64_t(entries[i].bytes));
    if (!buffer)
      return buffer.takeFailure();
    addresses.push_back(buffer->address());
    if (auto done =
            ok(driver.memcpyHtoDAsync(buffer->address(), artifact.weights()[i],
                                      buffer->bytes(), stream),
               "copy the weights");
        !done)
      return done;
    weights.push_back(std::move(*buffer));
  }
  auto table = allocate(addresses.size() * 8);
  if (!table)
    return table.takeFailure();
  weightTable = std::move(*table);
  if (auto done =
          ok(driver.memcpyHtoDAsync(weightTable.address(), addresses.data(),
                                    weightTable.bytes(), stream),
             "copy the weights");
      !done)
    return done;
  return ok(driver.streamSynchronize(stream), "copy the weights");
}

Expected<Buffer> GpuDevice::allocate(uint64_t bytes) {
  if (bytes == 0)
    return Buffer();
  if (auto done = gpu->enter(); !done)
    return done.takeFailure();
  DevicePointer memory = 0;
  Result result = driver.memAlloc(&memory, bytes);
  if (result != Result::Success)
    return gpu->failed("give " + std::to_string(bytes) + " bytes of memory",
                       result);
  Buffer buffer(*this, memory, bytes);
  if (auto done =
          ok(driver.memsetD8Async(memory, 0, bytes, stream), "clear memory");
      !done)
    return done.takeFailure();
  return buffer;
}

Expected<HostBuffer> GpuDevice::allocateHost(uint64_t bytes) {
  if (bytes == 0)
    return HostBuffer();
  if (auto done = gpu->enter(); !done)
    return done.takeFailure();
  void *memory = nullptr;
  Result result = driver.memHostAlloc(&memory, bytes, 0);
  if (result != Result::Success)
    return gpu->failed("give " + std::to_string(bytes) +
                           " bytes of page-locked memory of the host",
                       result);
  std::memset(memory, 0, bytes);
  return HostBuffer(*this, static_cast<uint8_t *>(memory), bytes);
}

void GpuDevice::release(DeviceAddress address, uint64_t) {
  if (gpu->enter())
    (void)driver.memFree(address);
}

void GpuDevice::releaseHost(uint8_t *data, uint64_t) {
  if (gpu->enter())
    (void)driver.memFreeHost(data);
}

/// One that a submission waited for has given back, or a new one.
Expected<ArgumentBlock> GpuDevice::argumentBlock(uint64_t bytes) {
  for (ArgumentBlock &block : spare)
    if (block.host.bytes() >= bytes) {
      std::swap(block, spare.back());
      ArgumentBlock result = std::move(spare.back());
      spare.pop_back();
      return result;
    }
  ArgumentBlock block;
  uint64_t rounded = (bytes + 4095) / 4096 * 4096;
  auto host = allocateHost(rounded);
  if (!host)
    return host.takeFailure();
  auto device = allocate(rounded);
  if (!device)
    return device.takeFailure();
  block.host = std::move(*host);
  block.device = std::move(*device);
  return block;
}

Expected<uint64_t> GpuDevice::submit(const Submission &submission) {
  if (auto done = gpu->enter(); !done)
    return done.takeFailure();
  InFlight one;
  one.ticket = tickets + 1;
  uint64_t bytes = submission.launches.size() * sizeof(ee_stage_args);
  if (bytes > 0) {
    auto block = argumentBlock(bytes);
    if (!block)
      return block.takeFailure();
    one.arguments = std::move(*block);
  }
  if (auto done = enqueue(submission, one.arguments); !done)
    return done.takeFailure();
  if (auto done =
          ok(driver.eventCreate(&one.event, blockingEvent | untimedEvent),
             "make an event");
      !done)
    return done.takeFailure();
  auto recorded = ok(driver.eventRecord(one.event, stream), "take work");
  inFlight.push_back(std::move(one));
  if (!recorded)
    return recorded.takeFailure();
  return ++tickets;
}

Expected<void> GpuDevice::enqueue(const Submission &submission,
                                  const ArgumentBlock &arguments) {
  if (auto done = enqueueCopies(submission); !done)
    return done;
  uint64_t count = submission.launches.size();
  for (uint64_t i = 0; i < count; ++i) {
    ee_stage_args args = submission.launches[i].args;
    args.team = nullptr;
    args.weights = deviceField<const void *>(weightTable.address());
    std::memcpy(arguments.host.data() + i * sizeof args, &args, sizeof args);
  }
  if (count > 0)
    if (auto done = ok(driver.memcpyHtoDAsync(
                           arguments.device.address(), arguments.host.data(),
                           count * sizeof(ee_stage_args), stream),
                       "copy arguments");
        !done)
      return done;
  for (uint64_t i = 0; i < count; ++i)
    if (auto done = enqueueLaunch(submission.launches[i],
                                  arguments.device.address() +
                                      i * sizeof(ee_stage_args));
        !done)
      return done;
  for (const Download &download : submission.downloads)
    if (auto done = ok(driver.memcpyDtoHAsync(download.to, download.from,
                                              download.bytes, stream),
                       "copy to the host");
        !done)
      return done;
  return {};
}

Expected<void> GpuDevice::enqueueCopies(const Submission &submission) {
  for (const Upload &upload : submission.uploads)
    if (auto done = ok(driver.memcpyHtoDAsync(upload.to, upload.from,
                                              upload.bytes, stream),
                       "copy from the host");
        !done)
      return done;
  for (const Fill &fill : submission.fills)
    if (auto done =
            ok(driver.memsetD8Async(fill.to, fill.value, fill.bytes, stream),
               "fill memory");
        !done)
      return done;
  for (const DeviceCopy &copy : submission.copies)
    if (auto done =
            ok(driver.memcpyDtoDAsync(copy.to, copy.from, copy.bytes, stream),
               "copy memory");
        !done)
      return done;
  return {};
}

Expected<void> GpuDevice::enqueueLaunch(const Launch &launch,
                                        DeviceAddress arguments) {
  uint64_t perCta = uint64_t(threads / itemThreads);
  for (PreparedLaunch &each : stages[size_t(launch.stage)]) {
    uint64_t items =
        each.itemsFixed + each.itemsPerRow * uint64_t(launch.args.max_rows);
    uint64_t grid =
        std::clamp<uint64_t>((items + perCta - 1) / perCta, 1, uint64_t(ctas));
    each.parameters[0] = arguments;
    std::vector<void *> pointers;
    pointers.reserve(each.parameters.size());
    for (uint64_t &parameter : each.parameters)
      pointers.push_back(&parameter);
    Result result = driver.launchKernel(each.function, unsigned(grid), 1, 1,
                                        unsigned(threads), 1, 1, 0, stream,
                                        pointers.data(), nullptr);
    if (result != Result::Success)
      return gpu->failed("launch a kernel", result);
  }
  return {};
}

Expected<void> GpuDevice::wait(uint64_t ticket) {
  if (auto done = gpu->enter(); !done)
    return done;
  while (!inFlight.empty() && inFlight.front().ticket <= ticket) {
    InFlight one = std::move(inFlight.front());
    inFlight.pop_front();
    Result result = driver.eventSynchronize(one.event);
    (void)driver.eventDestroy(one.event);
    if (one.arguments.host.bytes() > 0)
      spare.push_back(std::move(one.arguments));
    if (result != Result::Success)
      return gpu->failed("do its work", result);
  }
  return {};
}

} // namespace

Expected<std::unique_ptr<Device>> createGpuDevice(const Artifact &artifact,
                                                  const GpuCode &code,
                                                  const ReadCode &read,
                                                  std::shared_ptr<Gpu> gpu) {
  auto device =
      std::make_unique<GpuDevice>(artifact, code.threads, std::move(gpu));
  if (auto done = device->start(code, read); !done)
    return done.takeFailure();
  return Expected<std::unique_ptr<Device>>(std::move(device));
}

Expected<std::unique_ptr<Device>> createGpuDevice(const Artifact &artifact,
                                                  std::shared_ptr<Gpu> gpu) {
  const Manifest &manifest = artifact.manifest();
  if (!manifest.gpu)
    return Failure{"the artifact has no code for GPUs: compile it with "
                   "--target=cpu,nvptx, or use --device=cpu"};
  auto read = [&](size_t file) -> Expected<CodeImage> {
    auto bytes = artifact.readVerified(file, maxCodeBytes);
    if (!bytes)
      return bytes.takeFailure();
    return CodeImage{std::move(*bytes), manifest.files[file].sha256};
  };
  return createGpuDevice(artifact, *manifest.gpu, read, std::move(gpu));
}

} // namespace ee::gpu

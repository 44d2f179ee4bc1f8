// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs small hand-written PTX on the simulator.
#ifndef EE_UNITTESTS_GPU_SIMTEST_H
#define EE_UNITTESTS_GPU_SIMTEST_H

#include "sim/machine.h"

#include "gtest/gtest.h"

#include <cstring>
#include <string>
#include <vector>

namespace ee::gpu {

/// A module with one kernel `k` whose parameters are pointers p0, p1, ... Its
/// body has registers %r, %rd, %f, %h and %p of 32 each, with %rd0 to %rdN
/// loaded from the parameters, and tid.x in %r0.
inline std::string kernelText(const std::string &body, int pointers,
                              const std::string &globals = "") {
  std::string text = ".version 7.0\n.target sm_80\n.address_size 64\n" +
                     globals + "\n.visible .entry k(";
  for (int i = 0; i < pointers; ++i)
    text += std::string(i ? ", " : "") + ".param .u64 p" + std::to_string(i);
  text += ")\n{\n.reg .b32 %r<32>; .reg .b64 %rd<32>; .reg .f32 %f<32>; "
          ".reg .b16 %h<32>; .reg .pred %p<32>;\n";
  for (int i = 0; i < pointers; ++i)
    text += "ld.param.u64 %rd" + std::to_string(i) + ", [p" +
            std::to_string(i) + "];\n";
  return text + "mov.u32 %r0, %tid.x;\n" + body + "\nret;\n}\n";
}

class Sim {
public:
  explicit Sim(const std::string &ptx, bool check = true, uint32_t seed = 0,
               uint64_t limit = 1 << 20)
      : machine({check, seed, limit}) {
    auto loaded = machine.load(ptx);
    if (loaded)
      module = std::move(*loaded);
    else
      loadError = loaded.error();
  }

  /// Memory that no one has written.
  uint64_t empty(uint64_t bytes, const std::string &name = "buffer") {
    auto address = machine.memory.allocate(bytes, name);
    EXPECT_TRUE(address);
    return *address;
  }
  template <typename T> uint64_t buffer(const std::vector<T> &values) {
    uint64_t address = empty(values.size() * sizeof(T));
    std::memcpy(reinterpret_cast<void *>(address), values.data(),
                values.size() * sizeof(T));
    machine.memory.written(address, values.size() * sizeof(T));
    return address;
  }
  template <typename T> std::vector<T> read(uint64_t address, size_t count) {
    auto *data = reinterpret_cast<const T *>(address);
    return {data, data + count};
  }

  /// The error line, or nothing.
  std::string launch(const std::vector<uint64_t> &parameters, Dim block = {32},
                     Dim grid = {1}, uint32_t dynamicShared = 0) {
    if (!module)
      return loadError;
    std::vector<uint8_t> bytes(parameters.size() * 8);
    std::memcpy(bytes.data(), parameters.data(), bytes.size());
    auto done = machine.launch(module->kernels.begin()->second, *module, grid,
                               block, dynamicShared, bytes);
    return done ? "" : done.error();
  }

  /// All findings, one a line.
  std::string findings() const {
    std::string text;
    for (const Finding &finding : machine.findings)
      text += finding.text + "\n";
    return text;
  }

  Machine machine;
  std::unique_ptr<Module> module;
  std::string loadError;
};

inline bool contains(const std::string &text, const std::string &part) {
  return text.find(part) != text.npos;
}

} // namespace ee::gpu

#endif // EE_UNITTESTS_GPU_SIMTEST_H

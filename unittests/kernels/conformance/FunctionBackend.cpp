// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiles a decomposition with the function backend, loads the shared object
// and calls it through the function ABI.

#include "FunctionBackend.h"

#include "Decomposition.h"

#include "AdaptiveDialect/Conversion/CPU/Function.h"
#include "ee/function_abi.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <cstdlib>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;
using namespace conformance;

namespace {

/// Function form wants a name on each argument and result.
void nameValues(ModuleOp module) {
  auto function = cast<func::FuncOp>(module.getBody()->front());
  auto name = [&](const char *kind, unsigned i) {
    return StringAttr::get(module.getContext(), kind + std::to_string(i));
  };
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    function.setArgAttr(i, "ee.name", name("in", i));
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    function.setResultAttr(i, "ee.name", name("out", i));
}

/// A shared object that was never a file.
class Library {
public:
  explicit Library(const std::string &bytes)
      : descriptor(memfd_create("function", MFD_CLOEXEC)) {
    if (descriptor < 0 ||
        write(descriptor, bytes.data(), bytes.size()) != ssize_t(bytes.size()))
      die("cannot keep a shared object in memory");
    std::string path = "/proc/self/fd/" + std::to_string(descriptor);
    handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle)
      die(std::string("cannot load a function: ") + dlerror());
  }
  Library(const Library &) = delete;
  ~Library() {
    dlclose(handle);
    close(descriptor);
  }
  ee_function_fn entry() const {
    auto function =
        reinterpret_cast<ee_function_fn>(dlsym(handle, "ee_function_main"));
    if (!function)
      die("a function has no entry point");
    return function;
  }

private:
  int descriptor;
  void *handle = nullptr;
};

/// Memory of one call; nothing is given back before its end.
struct Memory {
  Memory() {
    calls.allocate = [](ee_memory *self, const int64_t *dims, int64_t rank,
                        int64_t elementBytes) {
      int64_t bytes = elementBytes;
      for (int64_t i = 0; i < rank; ++i)
        bytes *= dims[i];
      void *data = std::aligned_alloc(64, size_t(bytes + 64) / 64 * 64);
      reinterpret_cast<Memory *>(self)->blocks.push_back(data);
      return data;
    };
    calls.release = [](ee_memory *, void *) {};
  }
  Memory(const Memory &) = delete;
  ~Memory() {
    for (void *block : blocks)
      std::free(block);
  }

  ee_memory calls; // first: the callbacks find the object behind it
  std::vector<void *> blocks;
};

} // namespace

std::string FunctionBackend::name() const {
  return "function " + adaptive::cpu::levelName(level).str();
}

Outputs FunctionBackend::run(const OpCase &op, const Inputs &inputs) {
  Decomposition source(op);
  nameValues(*source.module);
  auto object = adaptive::cpu::compileFunction(
      *source.module, level, adaptive::cpu::CodeStage::SharedObject);
  if (failed(object))
    die("the function backend refuses the decomposition of " + op.op);
  Library library(*object);
  Arguments arguments(op, inputs, source.columns);
  std::vector<ee_tensor> given, returned;
  for (Tensor &tensor : arguments.list)
    given.push_back(
        {tensor.data, tensor.sizes.data(), int64_t(tensor.sizes.size())});
  std::vector<Tensor> results(source.types.size());
  for (size_t i = 0; i < results.size(); ++i) {
    results[i].sizes.resize(size_t(source.types[i].getRank()));
    returned.push_back(
        {nullptr, results[i].sizes.data(), int64_t(results[i].sizes.size())});
  }
  Memory memory;
  ee_function_args args = {given.data(), returned.data(), nullptr,
                           &memory.calls, nullptr};
  library.entry()(&args);
  if (args.error)
    die(op.op + ": " + args.error);
  for (size_t i = 0; i < results.size(); ++i)
    results[i].data = returned[i].data;
  return source.outputs(results);
}

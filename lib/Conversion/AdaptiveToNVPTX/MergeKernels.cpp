// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Makes kernels of equal code one, named after what they compute.

#include "AdaptiveDialect/Conversion/NVPTX/Ptx.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace adaptive;

/// The text of a function but for its name.
static std::string bodyOf(LLVM::LLVMFuncOp function) {
  std::string name = function.getName().str(), text;
  function.setName("kernel");
  llvm::raw_string_ostream stream(text);
  function->print(stream, OpPrintingFlags().useLocalScope());
  function.setName(name);
  return text;
}

llvm::StringMap<std::string> nvptx::mergeEqualKernels(ModuleOp module) {
  llvm::StringMap<std::string> renamed;
  std::map<std::string, std::string> kept; // body to name
  std::set<std::string> taken;
  for (auto function :
       llvm::make_early_inc_range(module.getOps<LLVM::LLVMFuncOp>())) {
    std::string old = function.getName().str(), body = bodyOf(function);
    auto [place, isNew] = kept.try_emplace(body);
    if (isNew) {
      std::string stem = StringRef(old).rsplit('.').second.str();
      if (stem.empty())
        stem = old;
      uint64_t hash = llvm::xxh3_64bits(body);
      // Another body of this hash takes the next number.
      do {
        place->second =
            stem + "_" + llvm::utohexstr(hash++, /*LowerCase=*/true, 16);
      } while (!taken.insert(place->second).second);
      function.setName(place->second);
    } else {
      function.erase();
    }
    renamed[old] = place->second;
  }
  return renamed;
}

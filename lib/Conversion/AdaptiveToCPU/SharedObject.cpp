// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Links with lld in process. lld works on files, so object and result pass
// through a temporary folder that is removed on every way out.

#include "SharedObject.h"

#include "ee/signals.h"

#include "lld/Common/Driver.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

LLD_HAS_DRIVER(elf)

using namespace mlir;

FailureOr<std::string> adaptive::cpu::linkSharedObject(ModuleOp module,
                                                       llvm::StringRef object) {
  ee::DeferSignals deferred; // Ctrl-C leaves no folder either
  llvm::SmallString<128> folder;
  if (std::error_code error =
          llvm::sys::fs::createUniqueDirectory("ee-link", folder))
    return module.emitError("cannot make a temporary folder: ")
           << error.message();
  auto cleanup = llvm::make_scope_exit(
      [&] { (void)llvm::sys::fs::remove_directories(folder); });
  llvm::SmallString<128> input(folder), output(folder);
  llvm::sys::path::append(input, "stages.o");
  llvm::sys::path::append(output, "stages.so");
  {
    std::error_code error;
    llvm::raw_fd_ostream stream(input, error);
    if (!error)
      stream << object;
    if (error || (stream.close(), stream.has_error()))
      return module.emitError(
          "cannot write the object file into the temporary folder");
  }
  std::string log;
  llvm::raw_string_ostream messages(log);
  std::string in(input.str()), out(output.str());
  const char *arguments[] = {
      "ld.lld", "-shared", "-Bsymbolic", "--gc-sections", "--build-id=none",
      "-z",     "now",     "-z",         "noexecstack",   "-s",
      "-z",     "defs",    "-o",         out.c_str(),     in.c_str()};
  lld::Result result = lld::lldMain(arguments, messages, messages,
                                    {{lld::Gnu, &lld::elf::link}});
  // Code that needs a library is a fault of a lowering; the symbol says which.
  if (size_t at = log.find("undefined symbol: "); at != std::string::npos)
    return module.emitError("the compiled code calls '")
           << llvm::StringRef(log).substr(at + 18).split('\n').first.trim()
           << "', but artifacts link no library";
  if (result.retCode != 0)
    return module.emitError("linking failed: ") << log;
  auto bytes = llvm::MemoryBuffer::getFile(output, /*IsText=*/false,
                                           /*RequiresNullTerminator=*/false);
  if (!bytes)
    return module.emitError("cannot read the linked object: ")
           << bytes.getError().message();
  return (*bytes)->getBuffer().str();
}

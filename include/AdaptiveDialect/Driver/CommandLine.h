// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The command line of `ee-opt X.onnx -o X.ee`.

#ifndef ADAPTIVEDIALECT_DRIVER_COMMANDLINE_H
#define ADAPTIVEDIALECT_DRIVER_COMMANDLINE_H

#include "AdaptiveDialect/Driver/Compile.h"

#include "mlir/IR/DialectRegistry.h"

namespace adaptive {

/// True when the arguments ask for a compilation (a .onnx file, -o X.ee,
/// --emit, --kind, --help, --version, nothing at all on a terminal), false when
/// they are those of mlir-opt.
bool isCompileCommand(int argc, char **argv);

/// Parses the arguments and compiles; returns the exit code: 0, or 1 after one
/// line per error on standard error.
int compileMain(int argc, char **argv, mlir::DialectRegistry &registry,
                const RuntimeHooks &runtime);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_DRIVER_COMMANDLINE_H

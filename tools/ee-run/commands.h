// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The subcommands of ee-run. Each registers its flags and a callback that sets
// the exit code or throws CommandError.
#ifndef EE_RUN_COMMANDS_H
#define EE_RUN_COMMANDS_H

#include "common.h"

void addGenerate(CLI::App &app, int &exitCode);
void addRun(CLI::App &app, int &exitCode);
void addEval(CLI::App &app, int &exitCode);
void addInspect(CLI::App &app, int &exitCode);
void addBench(CLI::App &app, int &exitCode);
void addCompare(CLI::App &app, int &exitCode);

#endif // EE_RUN_COMMANDS_H

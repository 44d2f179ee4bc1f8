// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// ee-run: runs compiled artifacts. One file per subcommand.
#include "commands.h"

#include <cstdio>
#include <exception>

int main(int argc, char **argv) {
  CLI::App app{"Runs models compiled by ee-opt, with a depth per token.\n"
               "Loading an artifact runs its native code: load only what you "
               "trust as much as a program."};
  app.require_subcommand(1);
  int exitCode = 0;
  addGenerate(app, exitCode);
  addRun(app, exitCode);
  addEval(app, exitCode);
  addInspect(app, exitCode);
  addBench(app, exitCode);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    // Help goes to stdout with 0; everything else is one line and 1.
    if (error.get_exit_code() == 0)
      return app.exit(error);
    std::fprintf(stderr, "ee-run: %s (see --help)\n", error.what());
    return 1;
  } catch (const CommandError &error) {
    std::fprintf(stderr, "ee-run: %s\n", error.what());
    return 1;
  } catch (const std::bad_alloc &) {
    std::fprintf(stderr, "ee-run: out of memory\n");
    return 1;
  }
  return exitCode;
}

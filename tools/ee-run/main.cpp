// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// ee-run: runs compiled artifacts. One file per subcommand.
#include "commands.h"
#include "ee/file.h"
#include "ee/version.h"

#include <charconv>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <iostream>
#include <sstream>

/// CLI11 takes an integer that does not fit for the nearest one that does, and
/// a negative one for a huge unsigned one: both are refused here instead.
template <typename T>
static std::string refuseInteger(const std::string &text) {
  T value = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size())
    return "";
  return ee::inQuotes(text) + " is not accepted, integers from " +
         std::to_string(std::numeric_limits<T>::min()) + " to " +
         std::to_string(std::numeric_limits<T>::max()) + " are";
}

static void checkIntegers(CLI::App &app) {
  for (CLI::App *command : app.get_subcommands(nullptr))
    for (CLI::Option *option : command->get_options()) {
      std::string type = option->get_type_name();
      if (type.rfind("INT", 0) == 0)
        option->check(refuseInteger<int64_t>);
      else if (type.rfind("UINT", 0) == 0)
        option->check(refuseInteger<uint64_t>);
    }
}

static bool isSubcommand(CLI::App &app, const std::string &name) {
  for (CLI::App *command : app.get_subcommands(nullptr))
    if (command->get_name() == name)
      return true;
  return false;
}

/// generate, run, ...
static std::string subcommandNames(CLI::App &app) {
  std::string names;
  for (CLI::App *command : app.get_subcommands(nullptr))
    names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

/// A standard stream that is closed would lend its number to the next file
/// that is opened, and that file would get the output. Opened for the other
/// direction, it fails as a closed one does.
static void occupyClosedStreams() {
  for (int fd : {0, 1, 2})
    if (fcntl(fd, F_GETFD) < 0)
      (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

static int report(const char *message) {
  std::fprintf(stderr, "ee-run: %s\n", message);
  return 1;
}

int main(int argc, char **argv) {
  occupyClosedStreams();
  CLI::App app{"Runs models compiled by ee-opt, with a depth per token.\n"
               "Loading an artifact runs its native code: load only what you "
               "trust as much as a program."};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("ee-run ") + ee::version());
  int exitCode = 0;
  addGenerate(app, exitCode);
  addRun(app, exitCode);
  addEval(app, exitCode);
  addInspect(app, exitCode);
  addBench(app, exitCode);
  addCompare(app, exitCode);
  checkIntegers(app);
  try {
    try {
      if (argc < 2)
        throw CommandError("a subcommand is required, accepted are " +
                           subcommandNames(app) + " (see --help)");
      if (argv[1][0] != '-' && !isSubcommand(app, argv[1]))
        throw CommandError("no subcommand " + ee::inQuotes(argv[1]) +
                           ", accepted are " + subcommandNames(app));
      app.parse(argc, argv);
    } catch (const CLI::ParseError &error) {
      // Help goes to stdout with 0; everything else is one line and 1.
      if (error.get_exit_code() != 0)
        return report((std::string(error.what()) + " (see --help)").c_str());
      // Through stdio, which keeps the reason when it cannot be written.
      std::ostringstream text;
      app.exit(error, text, std::cerr);
      std::fputs(text.str().c_str(), stdout);
    }
    checkStdout();
  } catch (const CommandError &error) {
    return report(error.what());
  } catch (const std::bad_alloc &) {
    return report("out of memory");
  }
  return exitCode;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes the toy artifact to a directory, to try ee-run by hand. Not installed.
#include "toy_model.h"

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: ee-toy-artifact DIR exact|propagate\n");
    return 1;
  }
  toy::write(argv[1], toy::manifest(argv[2]));
  return 0;
}

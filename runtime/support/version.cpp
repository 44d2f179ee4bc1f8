// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The version of the project; see ee/version.h.
#include "ee/version.h"

const char *ee::version() { return EE_PROJECT_VERSION; }

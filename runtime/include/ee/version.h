// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The version of the project, which CMakeLists.txt states once.
#ifndef EE_VERSION_H
#define EE_VERSION_H

namespace ee {

/// "MAJOR.MINOR.PATCH".
const char *version();

} // namespace ee

#endif // EE_VERSION_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Parses the PTX that LLVM's NVPTX backend writes.
#ifndef EE_GPU_SIM_PARSER_H
#define EE_GPU_SIM_PARSER_H

#include "ee/result.h"
#include "program.h"

#include <functional>
#include <memory>

namespace ee::gpu {

/// Gives a module's variable its memory; called before kernels are parsed.
using PlaceVariable = std::function<Expected<void>(Variable &)>;

/// Fails with one line that names the line of the text and the instruction or
/// directive that the simulator does not know.
Expected<std::unique_ptr<Module>> parseModule(std::string text,
                                              const PlaceVariable &place);

} // namespace ee::gpu

#endif // EE_GPU_SIM_PARSER_H

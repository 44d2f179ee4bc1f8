// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run`, shared by its two kinds of model.
#ifndef EE_RUN_RUN_H
#define EE_RUN_RUN_H

#include "common.h"
#include "npy.h"

#include <map>
#include <utility>

struct RunFlags {
  ModelFlags model;
  std::vector<std::string> inputs, outputs, expects, dumps;
  double rtol = 1e-5, atol = 1e-8;
};

/// Arrays by the name of the input or output.
using Arrays = std::map<std::string, NpyArray>;

/// "name=@file" or, for outputs, "name=file".
std::pair<std::string, std::string> splitBinding(const std::string &text,
                                                 const char *flag);

/// The shape as NumPy prints it.
std::string shapeOf(const NpyArray &array);

/// Names of the outputs; an error lists them.
std::vector<std::string> outputNames(const Model &model);

/// A decoder over whole sequences: every row gives logits and the depth at
/// which it left.
Arrays runDecoder(const Model &model, const RunFlags &flags, Arrays inputs);

/// A function on its inputs.
Arrays runFunctionModel(const Model &model, const RunFlags &flags,
                        const Arrays &inputs);

#endif // EE_RUN_RUN_H

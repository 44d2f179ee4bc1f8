// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checks that the data of a tensor fits its type and shape, and decodes the
// typed protobuf fields (float_data, int32_data, ...) to raw data.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_TENSORDATA_H
#define ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_TENSORDATA_H

#include "TensorIndex.h"

#include <optional>
#include <vector>

namespace adaptive {

/// Offset and length that a tensor's external_data states.
struct ExternalRange {
  std::string location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

/// Reads the external_data entries of `entry`. Unknown keys are ignored, as the
/// ONNX specification wants.
ee::Expected<ExternalRange> externalRange(const TensorEntry &entry);

/// Checks the tensor against its type and shape (where external data lies is
/// not looked at); gives the size of its raw data, 0 for strings. The error
/// does not name the tensor.
ee::Expected<uint64_t> checkTensor(const TensorEntry &entry);

/// Bytes of a checked tensor that stand in typed fields, as raw data. If one
/// chunk holds them already (packed floats), `view` shows it and nothing is
/// copied; otherwise they are decoded to `owned`.
void decodeTyped(const TensorEntry &entry, uint64_t bytes,
                 std::vector<char> &owned, std::string_view &view);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_TENSORDATA_H

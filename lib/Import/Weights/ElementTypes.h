// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX's element types: their names, widths and builtin MLIR types.
// Source: TensorProto.DataType in onnx.proto (IR version 14).

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_ELEMENTTYPES_H
#define ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_ELEMENTTYPES_H

#include "ee/result.h"

#include "mlir/IR/Types.h"

#include <cstdint>
#include <span>
#include <string>

namespace adaptive {

/// The values of TensorProto.DataType that code names.
enum OnnxType : int32_t {
  OnnxUndefined = 0,
  OnnxFloat = 1,
  OnnxUint8 = 2,
  OnnxInt8 = 3,
  OnnxUint16 = 4,
  OnnxInt16 = 5,
  OnnxInt32 = 6,
  OnnxInt64 = 7,
  OnnxString = 8,
  OnnxBool = 9,
  OnnxFloat16 = 10,
  OnnxDouble = 11,
  OnnxUint32 = 12,
  OnnxUint64 = 13,
  OnnxComplex64 = 14,
  OnnxComplex128 = 15,
  OnnxBfloat16 = 16,
};

/// Width of an element in bits as raw data stores it; 0 for strings and for
/// numbers that are no data type.
unsigned onnxTypeBits(int32_t type);

/// `FLOAT16`, or `data type 77`.
std::string onnxTypeName(int32_t type);

/// True for integers and booleans that are used as shapes, indices and masks
/// (16 bits and more, and bool); narrower integers are quantised weights.
bool isIndexLikeType(int32_t type);

/// The builtin type, or null where MLIR has none (strings, 6-bit floats). Signs
/// are kept: u8 is `ui8`, i8 is `i8`.
mlir::Type onnxElementType(int32_t type, mlir::MLIRContext *context);

/// `[2, 3]`.
std::string shapeText(std::span<const int64_t> dims);

/// Elements in a tensor of that shape.
ee::Expected<uint64_t> elementCount(std::span<const int64_t> dims);

/// Bytes of raw data of such a tensor (types below 8 bits are packed). Fails
/// for negative or overflowing dimensions and for types without raw data.
ee::Expected<uint64_t> rawBytes(int32_t type, std::span<const int64_t> dims);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_WEIGHTS_ELEMENTTYPES_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The table of ONNX's element types, and sizes computed with checked
// arithmetic.

#include "ElementTypes.h"

#include "ee/checked.h"

#include "mlir/IR/BuiltinTypes.h"

#include <iterator>

using namespace mlir;

namespace {

struct TypeRow {
  const char *name;
  unsigned bits;
  Type (*type)(MLIRContext *);
};

template <typename T> Type floatType(MLIRContext *context) {
  return T::get(context);
}

template <unsigned width,
          IntegerType::SignednessSemantics sign = IntegerType::Signless>
Type intType(MLIRContext *context) {
  return IntegerType::get(context, width, sign);
}

template <typename T> Type complexType(MLIRContext *context) {
  return ComplexType::get(T::get(context));
}

constexpr TypeRow kTypes[] = {
    {"UNDEFINED", 0, nullptr},
    {"FLOAT", 32, floatType<Float32Type>},
    {"UINT8", 8, intType<8, IntegerType::Unsigned>},
    {"INT8", 8, intType<8>},
    {"UINT16", 16, intType<16, IntegerType::Unsigned>},
    {"INT16", 16, intType<16>},
    {"INT32", 32, intType<32>},
    {"INT64", 64, intType<64>},
    {"STRING", 0, nullptr},
    {"BOOL", 8, intType<1>},
    {"FLOAT16", 16, floatType<Float16Type>},
    {"DOUBLE", 64, floatType<Float64Type>},
    {"UINT32", 32, intType<32, IntegerType::Unsigned>},
    {"UINT64", 64, intType<64, IntegerType::Unsigned>},
    {"COMPLEX64", 64, complexType<Float32Type>},
    {"COMPLEX128", 128, complexType<Float64Type>},
    {"BFLOAT16", 16, floatType<BFloat16Type>},
    {"FLOAT8E4M3FN", 8, floatType<Float8E4M3FNType>},
    {"FLOAT8E4M3FNUZ", 8, floatType<Float8E4M3FNUZType>},
    {"FLOAT8E5M2", 8, floatType<Float8E5M2Type>},
    {"FLOAT8E5M2FNUZ", 8, floatType<Float8E5M2FNUZType>},
    {"UINT4", 4, intType<4, IntegerType::Unsigned>},
    {"INT4", 4, intType<4>},
    {"FLOAT4E2M1", 4, floatType<Float4E2M1FNType>},
    {"FLOAT8E8M0", 8, floatType<Float8E8M0FNUType>},
    {"UINT2", 2, intType<2, IntegerType::Unsigned>},
    {"INT2", 2, intType<2>},
    {"FLOAT6E2M3", 6, floatType<Float6E2M3FNType>},
    {"FLOAT6E3M2", 6, floatType<Float6E3M2FNType>},
};

const TypeRow *find(int32_t type) {
  return type >= 0 && static_cast<size_t>(type) < std::size(kTypes)
             ? &kTypes[type]
             : nullptr;
}

} // namespace

unsigned adaptive::onnxTypeBits(int32_t type) {
  const TypeRow *row = find(type);
  return row ? row->bits : 0;
}

std::string adaptive::onnxTypeName(int32_t type) {
  if (const TypeRow *row = find(type))
    return row->name;
  return "data type " + std::to_string(type);
}

bool adaptive::isIndexLikeType(int32_t type) {
  switch (type) {
  case OnnxUint16:
  case OnnxInt16:
  case OnnxInt32:
  case OnnxInt64:
  case OnnxUint32:
  case OnnxUint64:
  case OnnxBool:
    return true;
  default:
    return false;
  }
}

Type adaptive::onnxElementType(int32_t type, MLIRContext *context) {
  const TypeRow *row = find(type);
  return row && row->type ? row->type(context) : Type();
}

std::string adaptive::shapeText(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    text += (i ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

ee::Expected<uint64_t> adaptive::elementCount(std::span<const int64_t> dims) {
  // Sizes are computed as if no dimension were zero, so that [0, 2^62] is
  // refused like [1, 2^62] wherever a stride would overflow.
  int64_t product = 1;
  bool empty = false;
  for (int64_t dim : dims) {
    if (dim < 0)
      return ee::Failure{"shape " + shapeText(dims) +
                         " has a negative dimension"};
    empty |= dim == 0;
    auto next = ee::checkedMul(product, dim == 0 ? 1 : dim);
    if (!next)
      return ee::Failure{"shape " + shapeText(dims) + " is too large"};
    product = *next;
  }
  return static_cast<uint64_t>(empty ? 0 : product);
}

ee::Expected<uint64_t> adaptive::rawBytes(int32_t type,
                                          std::span<const int64_t> dims) {
  unsigned bits = onnxTypeBits(type);
  if (bits == 0)
    return ee::Failure{onnxTypeName(type) +
                       " is not a type of a tensor with raw data"};
  auto count = elementCount(dims);
  if (!count)
    return count;
  auto total = ee::checkedMul<uint64_t>(*count, bits);
  auto padded = total ? ee::checkedAdd<uint64_t>(*total, 7) : std::nullopt;
  if (!padded)
    return ee::Failure{"shape " + shapeText(dims) + " is too large"};
  return *padded / 8;
}

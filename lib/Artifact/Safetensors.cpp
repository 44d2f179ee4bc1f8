// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Header and alignment of safetensors files.

#include "Safetensors.h"

#include "llvm/Support/MathExtras.h"

using namespace adaptive;
using llvm::StringRef;

llvm::json::Object adaptive::tensorEntry(StringRef dtype,
                                         llvm::json::Array shape,
                                         uint64_t offset, uint64_t bytes) {
  return llvm::json::Object{
      {"dtype", dtype.str()}, // a json value does not own a StringRef
      {"shape", std::move(shape)},
      {"data_offsets",
       llvm::json::Array{int64_t(offset), int64_t(offset + bytes)}}};
}

ee::Expected<OutputFile>
adaptive::openSafetensors(OutputFolder &folder, StringRef name,
                          llvm::json::Object header,
                          llvm::StringMap<PlacedWeight> &places) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(header));
  text.resize(llvm::alignTo(text.size() + 8, 4096) - 8, ' ');
  uint64_t length = text.size();
  for (auto &place : places)
    place.second.offset += 8 + length;
  auto file = folder.open(name);
  if (!file)
    return file.takeFailure();
  file->write(StringRef(reinterpret_cast<const char *>(&length), 8));
  file->write(text);
  return file;
}

void adaptive::writeTensor(OutputFile &file, StringRef bytes) {
  file.write(bytes);
  file.write(std::string(llvm::alignTo(bytes.size(), 64) - bytes.size(), '\0'));
}

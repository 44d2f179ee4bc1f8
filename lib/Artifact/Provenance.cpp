// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where an artifact comes from: hashes of what was read, and its JSON.

#include "Provenance.h"

#include "ee/file.h"
#include "ee/sha256.h"

using namespace adaptive;
using llvm::json::Array;
using llvm::json::Object;

ee::Expected<SourceFile> adaptive::readSourceFile(const std::string &path) {
  constexpr uint64_t maxBytes = uint64_t(1) << 40;
  auto file = ee::File::open(path, maxBytes);
  if (!file)
    return file.takeFailure();
  auto hash = ee::sha256Hex(*file);
  if (!hash)
    return hash.takeFailure();
  return SourceFile{path, *hash};
}

/// JSON is Unicode, paths and arguments need not be.
static std::string text(const std::string &bytes) {
  return llvm::json::isUTF8(bytes) ? bytes : llvm::json::fixUTF8(bytes);
}

static Object objectOf(const SourceFile &file) {
  return Object{{"file", text(file.path)}, {"sha256", file.sha256}};
}

Object adaptive::provenanceObject(const Provenance &provenance) {
  Object object;
  if (!provenance.source.path.empty())
    object["source"] = objectOf(provenance.source);
  if (!provenance.command.empty()) {
    Array command;
    for (const std::string &argument : provenance.command)
      command.push_back(text(argument));
    object["command"] = std::move(command);
  }
  if (!provenance.exits.path.empty())
    object["exits"] = objectOf(provenance.exits);
  if (!provenance.exitLowering.empty())
    object["exit_lowering"] = text(provenance.exitLowering);
  if (!provenance.date.empty())
    object["date"] = provenance.date;
  return object;
}

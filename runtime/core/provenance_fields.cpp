// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads `provenance` of manifest.json.
#include "provenance_fields.h"

namespace ee {

static ProvenanceFile readFile(const Field &parent, const char *name) {
  ProvenanceFile file;
  if (auto field = parent.find(name)) {
    file.path = field->at("file").string(1 << 16);
    file.sha256 = field->at("sha256").string(64);
  }
  return file;
}

ProvenanceFacts readProvenance(const Field &root) {
  ProvenanceFacts facts;
  auto provenance = root.find("provenance");
  if (!provenance)
    return facts;
  facts.source = readFile(*provenance, "source");
  facts.exits = readFile(*provenance, "exits");
  if (auto command = provenance->find("command"))
    for (const Field &argument : command->items(1 << 16))
      facts.command.push_back(argument.string(1 << 20));
  if (auto lowering = provenance->find("exit_lowering"))
    facts.exitLowering = lowering->string(1 << 16);
  if (auto date = provenance->find("date"))
    facts.date = date->string(64);
  return facts;
}

} // namespace ee

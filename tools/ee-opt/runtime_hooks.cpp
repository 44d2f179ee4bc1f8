// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loads what was compiled, with the loader of ee-run; see runtime_hooks.h.

#include "runtime_hooks.h"

#include "ee/artifact.h"
#include "ee/file.h"
#include "ee/tokenizer.h"

#include <charconv>
#include <cstdlib>
#include <ctime>
#include <string_view>

/// Seconds since 1970 as ISO 8601.
static ee::Expected<std::string> isoDate(std::time_t seconds) {
  std::tm parts = {};
  char text[64];
  // Years beyond 9999 have another form.
  if (!gmtime_r(&seconds, &parts) || parts.tm_year + 1900 > 9999)
    return ee::Failure{"SOURCE_DATE_EPOCH lies beyond the year 9999"};
  size_t length =
      std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text, length);
}

static ee::Expected<std::string> compileDate() {
  const char *given = std::getenv("SOURCE_DATE_EPOCH");
  if (!given)
    return isoDate(std::time(nullptr));
  std::string_view text(given);
  int64_t seconds = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < 0)
    return ee::Failure{"SOURCE_DATE_EPOCH must be seconds since 1970, but is " +
                       ee::inQuotes(text)};
  return isoDate(seconds);
}

/// Loads each level that this machine runs; of the others only the manifest's
/// word is checked, and the sizes of their files.
static ee::Expected<void> loadArtifact(const std::string &folder) {
  auto first = ee::Artifact::open(folder);
  if (!first)
    return first.takeFailure();
  for (size_t i = 0; i < first->manifest().files.size(); ++i)
    if (auto file = first->openFile(i); !file)
      return file.takeFailure();
  ee::CpuFeatures here = ee::CpuFeatures::detect();
  for (const ee::CpuCodeEntry &code : first->manifest().cpu) {
    if (!here.supports(code.level))
      continue;
    auto artifact = ee::Artifact::open(folder);
    if (!artifact)
      return artifact.takeFailure();
    ee::ArtifactOptions options;
    options.cpuLevel = code.level;
    if (auto loaded = artifact->load(options); !loaded)
      return loaded;
  }
  return {};
}

static ee::Expected<int64_t> readTokenizer(llvm::StringRef text) {
  auto tokenizer = ee::Tokenizer::fromJson(std::string_view(text));
  if (!tokenizer)
    return tokenizer.takeFailure();
  return int64_t(tokenizer->vocabSize());
}

ee::Expected<adaptive::RuntimeHooks> runtimeHooks() {
  auto date = compileDate();
  if (!date)
    return date.takeFailure();
  adaptive::RuntimeHooks hooks;
  hooks.date = *date;
  hooks.loadArtifact = loadArtifact;
  hooks.readTokenizer = readTokenizer;
  return hooks;
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Files beside an ONNX model: tokenizer, end-of-text ids, context length.

#include "ModelFiles.h"

#include "ee/file.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

using namespace adaptive;

static constexpr uint64_t maxTokenizerBytes = uint64_t(64) << 20;
static constexpr uint64_t maxConfigBytes = uint64_t(16) << 20;

static ee::Expected<std::string> readFile(const std::string &path,
                                          uint64_t maxBytes) {
  auto file = ee::File::open(path, maxBytes);
  if (!file)
    return file.takeFailure();
  return file->readAll(maxBytes);
}

static std::string inFolder(llvm::StringRef folder, llvm::StringRef name) {
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, name);
  return std::string(path);
}

ee::Expected<std::string> adaptive::readTokenizer(llvm::StringRef folder,
                                                  llvm::StringRef given) {
  if (given == "none")
    return std::string();
  std::string path =
      given.empty() ? inFolder(folder, "tokenizer.json") : given.str();
  if (given.empty() && !llvm::sys::fs::exists(path))
    return std::string();
  auto text = readFile(path, maxTokenizerBytes);
  if (!text)
    return text;
  auto parsed = llvm::json::parse(*text);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return ee::Failure{ee::inQuotes(path) +
                       " is not valid JSON; a tokenizer.json of the "
                       "Hugging Face format is accepted"};
  }
  auto *root = parsed->getAsObject();
  if (!root || !root->getObject("model"))
    return ee::Failure{ee::inQuotes(path) +
                       " has no object \"model\"; a tokenizer.json of the "
                       "Hugging Face format is accepted"};
  return text;
}

/// The object in `name`, or nothing when there is no such file.
static ee::Expected<std::optional<llvm::json::Object>>
readConfig(llvm::StringRef folder, llvm::StringRef name) {
  std::string path = inFolder(folder, name);
  if (!llvm::sys::fs::exists(path))
    return std::optional<llvm::json::Object>();
  auto text = readFile(path, maxConfigBytes);
  if (!text)
    return text.takeFailure();
  auto parsed = llvm::json::parse(*text);
  if (!parsed || !parsed->getAsObject()) {
    if (!parsed)
      llvm::consumeError(parsed.takeError());
    return ee::Failure{ee::inQuotes(path) + " is not a JSON object"};
  }
  return std::optional(*parsed->getAsObject());
}

static ee::Expected<std::vector<int64_t>>
idsOf(const llvm::json::Object &config, llvm::StringRef name) {
  std::vector<int64_t> ids;
  const llvm::json::Value *value = config.get("eos_token_id");
  if (!value || value->kind() == llvm::json::Value::Null)
    return ids;
  llvm::json::Array one{*value};
  const llvm::json::Array *list =
      value->getAsArray() ? value->getAsArray() : &one;
  for (const llvm::json::Value &id : *list) {
    auto number = id.getAsInteger();
    if (!number || *number < 0 || *number > INT32_MAX)
      return ee::Failure{"eos_token_id in " + ee::inQuotes(name.str()) +
                         " must be a token id or a list of them"};
    ids.push_back(*number);
  }
  return ids;
}

/// Id of the added token with this text.
static std::optional<int64_t> addedToken(llvm::StringRef tokenizer,
                                         llvm::StringRef content) {
  auto parsed = llvm::json::parse(tokenizer);
  if (!parsed) {
    llvm::consumeError(parsed.takeError());
    return std::nullopt;
  }
  if (auto *root = parsed->getAsObject())
    if (auto *tokens = root->getArray("added_tokens"))
      for (const llvm::json::Value &token : *tokens)
        if (auto *entry = token.getAsObject())
          if (entry->getString("content") == content)
            return entry->getInteger("id");
  return std::nullopt;
}

ee::Expected<std::vector<int64_t>>
adaptive::readEndOfText(llvm::StringRef folder, llvm::StringRef tokenizer) {
  for (llvm::StringRef name : {"generation_config.json", "config.json"}) {
    auto config = readConfig(folder, name);
    if (!config)
      return config.takeFailure();
    if (!*config)
      continue;
    auto ids = idsOf(**config, name);
    if (!ids || !ids->empty())
      return ids;
  }
  auto config = readConfig(folder, "tokenizer_config.json");
  if (!config)
    return config.takeFailure();
  std::vector<int64_t> ids;
  if (*config) {
    std::optional<llvm::StringRef> token = (*config)->getString("eos_token");
    if (auto *entry = (*config)->getObject("eos_token"))
      token = entry->getString("content");
    if (token)
      if (auto id = addedToken(tokenizer, *token))
        ids.push_back(*id);
  }
  return ids;
}

ee::Expected<std::optional<int64_t>>
adaptive::readMaxPosition(llvm::StringRef folder) {
  constexpr llvm::StringRef name = "max_position_embeddings";
  auto config = readConfig(folder, "config.json");
  if (!config)
    return config.takeFailure();
  const llvm::json::Value *value = *config ? (*config)->get(name) : nullptr;
  if (!value || value->kind() == llvm::json::Value::Null)
    return std::optional<int64_t>();
  auto positions = value->getAsInteger();
  if (!positions || *positions < 1)
    return ee::Failure{name.str() + " in \"config.json\" must be a positive "
                                    "integer; --max-position=N overrides it"};
  return std::optional<int64_t>(*positions);
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Encoding and decoding: the order of the steps, and the cache of pieces.
#include "ee/tokenizer.h"

#include "normalizer.h"
#include "tokenizer_impl.h"

using namespace ee;
using namespace ee::text;

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl)
    : impl(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer &&) noexcept = default;
Tokenizer &Tokenizer::operator=(Tokenizer &&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Expected<Tokenizer> Tokenizer::fromJson(std::string_view json,
                                        std::string_view what) {
  Expected<std::unique_ptr<const Impl>> impl = Impl::load(json, what);
  if (!impl)
    return impl.takeFailure();
  return Tokenizer(std::move(*impl));
}

Expected<Tokenizer> Tokenizer::load(const File &file) {
  Expected<std::string> json = file.readAll(maxFileBytes);
  if (!json)
    return json.takeFailure();
  return fromJson(*json, inQuotes(file.path()));
}

namespace {

/// One call of `encode`.
class Encoder {
public:
  Encoder(const Bpe &bpe, const std::vector<PreTokenizerStep> &steps,
          StringMap<std::vector<TokenId>> *cache, size_t maxCached,
          size_t maxCachedBytes, std::vector<TokenId> &ids)
      : bpe(bpe), steps(steps), cache(cache), maxCached(maxCached),
        maxCachedBytes(maxCachedBytes), ids(ids) {}

  /// Appends the ids of text that holds no added token.
  Expected<void> plain(std::string_view text) {
    pieces.views.assign(1, text);
    pieces.made.clear();
    if (Expected<void> split = preTokenize(steps, pieces, matching); !split)
      return split;
    for (std::string_view piece : pieces.views)
      if (Expected<void> encoded = one(piece); !encoded)
        return encoded;
    return {};
  }

private:
  Expected<void> one(std::string_view piece) {
    if (!cache || piece.size() > maxCachedBytes)
      return bpe.encode(piece, ids, merging);
    if (auto hit = cache->find(piece); hit != cache->end()) {
      ids.insert(ids.end(), hit->second.begin(), hit->second.end());
      return {};
    }
    size_t begin = ids.size();
    if (Expected<void> encoded = bpe.encode(piece, ids, merging); !encoded)
      return encoded;
    // Starting over is cheap and needs no book-keeping of ages.
    if (cache->size() >= maxCached)
      cache->clear();
    cache->emplace(std::string(piece),
                   std::vector<TokenId>(ids.begin() + begin, ids.end()));
    return {};
  }

  const Bpe &bpe;
  const std::vector<PreTokenizerStep> &steps;
  StringMap<std::vector<TokenId>> *cache;
  size_t maxCached, maxCachedBytes;
  std::vector<TokenId> &ids;
  Pieces pieces;
  MatchScratch matching;
  Bpe::Scratch merging;
};

} // namespace

Expected<std::vector<TokenId>> Tokenizer::encode(std::string_view text,
                                                 EncodeOptions options) const {
  if (text.size() > maxTextBytes)
    return Failure{"a text of " + std::to_string(text.size()) +
                   " bytes; the tokenizer accepts at most " +
                   std::to_string(maxTextBytes)};
  if (size_t at = findIllFormedUtf8(text); at != text.npos)
    return Failure{"the text is not valid UTF-8 at byte " + std::to_string(at)};

  std::vector<TokenId> ids;
  if (options.addSpecialTokens)
    ids = impl->before;

  std::unique_lock<std::mutex> lock(impl->cache->mutex, std::try_to_lock);
  Encoder encoder(*impl->bpe, impl->steps, lock ? &impl->cache->ids : nullptr,
                  Impl::Cache::maxEntries, Impl::Cache::maxPieceBytes, ids);
  std::vector<Segment> outer, inner;
  impl->rawTokens.split(text, options.specialTokensAsText, outer);
  for (const Segment &segment : outer) {
    if (segment.token) {
      ids.push_back(*segment.token);
      continue;
    }
    std::string_view part = segment.text;
    std::string normalized;
    if (impl->nfc) {
      Expected<std::string> nfc = toNfc(part);
      if (!nfc)
        return nfc.takeFailure();
      normalized = std::move(*nfc);
      part = normalized;
    }
    inner.clear();
    impl->normalizedTokens.split(part, options.specialTokensAsText, inner);
    for (const Segment &piece : inner) {
      if (piece.token)
        ids.push_back(*piece.token);
      else if (Expected<void> encoded = encoder.plain(piece.text); !encoded)
        return encoded.takeFailure();
    }
  }
  if (options.addSpecialTokens)
    ids.insert(ids.end(), impl->after.begin(), impl->after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids,
                              bool skipSpecialTokens) const {
  StreamDecoder decoder(*this, skipSpecialTokens);
  std::string text;
  for (TokenId id : ids)
    text += decoder.push(id);
  return text += decoder.flush();
}

TokenId Tokenizer::vocabSize() const { return TokenId(impl->entryOf.size()); }

std::optional<TokenId> Tokenizer::idOf(std::string_view token) const {
  auto found = impl->idOf.find(token);
  if (found == impl->idOf.end())
    return std::nullopt;
  return found->second;
}

std::optional<std::string_view> Tokenizer::tokenOf(TokenId id) const {
  const Impl::Entry *entry = impl->find(id);
  if (!entry)
    return std::nullopt;
  return entry->spelling;
}

bool Tokenizer::isSpecial(TokenId id) const {
  const Impl::Entry *entry = impl->find(id);
  return entry && entry->special;
}

std::string_view Tokenizer::bytesOf(TokenId id) const {
  const Impl::Entry *entry = impl->find(id);
  return entry ? std::string_view(entry->bytes) : std::string_view();
}

std::string StreamDecoder::push(TokenId id) {
  if (skipSpecialTokens && tokenizer->isSpecial(id))
    return "";
  return stream.push(tokenizer->bytesOf(id));
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a tokenizer consists of; filled by the loader, read by the rest.
#ifndef EE_TEXT_TOKENIZER_IMPL_H
#define EE_TEXT_TOKENIZER_IMPL_H

#include "added_tokens.h"
#include "bpe.h"
#include "pretokenizer.h"

#include "ee/tokenizer.h"

#include <mutex>

namespace ee {

struct Tokenizer::Impl {
  /// Parses and checks tokenizer.json; defined with the loader.
  static Expected<std::unique_ptr<const Impl>> load(std::string_view json,
                                                    std::string_view what);

  struct Entry {
    std::string spelling; ///< as in the file
    std::string bytes;    ///< what it decodes to
    bool special = false;
  };

  const Entry *find(TokenId id) const {
    if (id >= entryOf.size() || entryOf[id] == noEntry)
      return nullptr;
    return &entries[entryOf[id]];
  }

  static constexpr uint32_t noEntry = ~uint32_t(0);
  // Ids may have holes, so they index into a dense list.
  std::vector<Entry> entries;
  std::vector<uint32_t> entryOf;
  text::StringMap<TokenId> idOf;

  std::optional<text::Bpe> bpe;
  bool nfc = false;
  text::AddedTokenMatcher rawTokens;        ///< found before normalisation
  text::AddedTokenMatcher normalizedTokens; ///< found after it
  std::vector<text::PreTokenizerStep> steps;
  std::vector<TokenId> before, after; ///< what the template adds

  /// Pieces encoded earlier. Text repeats its words, and a look-up is cheaper
  /// than merging. One thread at a time uses it; others do without.
  struct Cache {
    static constexpr size_t maxEntries = 1 << 15;
    static constexpr size_t maxPieceBytes = 64;
    std::mutex mutex;
    text::StringMap<std::vector<TokenId>> ids;
  };
  std::unique_ptr<Cache> cache = std::make_unique<Cache>();
};

} // namespace ee

#endif // EE_TEXT_TOKENIZER_IMPL_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Byte-pair encoding with a linked list of symbols and a heap of candidate
// merges: O(n log n) in the bytes of a piece, however long it is.
#include "bpe.h"

#include <algorithm>
#include <tuple>

using namespace ee;
using namespace ee::text;

Bpe::Bpe(std::array<TokenId, 256> byteIds, std::vector<Merge> merges,
         StringMap<TokenId> wholePieces, Unknown unknown)
    : byteIds(byteIds), wholePieces(std::move(wholePieces)),
      unknown(std::move(unknown)) {
  // Highest rank first among equal pairs, for the last one to count.
  std::sort(merges.begin(), merges.end(), [](const Merge &a, const Merge &b) {
    return std::tie(a.left, a.right, b.rank) <
           std::tie(b.left, b.right, a.rank);
  });
  auto samePair = [](const Merge &a, const Merge &b) {
    return a.left == b.left && a.right == b.right;
  };
  merges.erase(std::unique(merges.begin(), merges.end(), samePair),
               merges.end());

  rows.assign(merges.empty() ? 1 : size_t(merges.back().left) + 2, 0);
  for (const Merge &merge : merges) {
    ++rows[merge.left + 1];
    targets.push_back({merge.right, merge.rank, merge.merged});
  }
  for (size_t i = 1; i < rows.size(); ++i)
    rows[i] += rows[i - 1];
}

const Bpe::Target *Bpe::find(TokenId left, TokenId right) const {
  if (size_t(left) + 1 >= rows.size())
    return nullptr;
  auto begin = targets.begin() + rows[left],
       end = targets.begin() + rows[left + 1];
  auto found =
      std::lower_bound(begin, end, right, [](const Target &target, TokenId id) {
        return target.right < id;
      });
  return found != end && found->right == right ? &*found : nullptr;
}

/// Fills `scratch.symbols` with one symbol a byte. A byte that is unknown gives
/// the unknown token, or nothing where the file names none.
Expected<void> Bpe::addSymbols(std::string_view piece, Scratch &scratch) const {
  std::vector<Scratch::Symbol> &symbols = scratch.symbols;
  symbols.clear();
  auto add = [&](TokenId id) {
    int32_t index = int32_t(symbols.size());
    symbols.push_back({id, index - 1, index + 1, true});
  };
  // An unknown token waits for the next byte, which may fuse with it; a byte
  // that is known ends the run. Bytes are characters of the alphabet here, so
  // each byte of an unknown code point counts for itself.
  bool waiting = false;
  for (char c : piece) {
    TokenId id = byteIds[static_cast<unsigned char>(c)];
    if (id != none) {
      if (waiting)
        add(unknown.id);
      waiting = false;
      add(id);
    } else if (unknown.present) {
      if (unknown.id == none)
        return Failure{"the text needs the tokenizer's unk_token " +
                       inQuotes(unknown.token) +
                       ", which is not in its vocabulary"};
      if (waiting && !unknown.fuse)
        add(unknown.id);
      waiting = true;
    }
  }
  if (waiting)
    add(unknown.id);
  if (!symbols.empty())
    symbols.back().next = -1;
  return {};
}

void Bpe::mergeAll(Scratch &scratch) const {
  std::vector<Scratch::Symbol> &symbols = scratch.symbols;
  std::vector<Scratch::Candidate> &heap = scratch.heap;
  // The heap functions keep the greatest in front; we want the lowest rank,
  // and the leftmost of equals.
  auto later = [](const Scratch::Candidate &a, const Scratch::Candidate &b) {
    return std::tie(a.rank, a.position) > std::tie(b.rank, b.position);
  };
  heap.clear();
  auto consider = [&](int32_t position) {
    const Scratch::Symbol &symbol = symbols[position];
    if (const Target *target = find(symbol.id, symbols[symbol.next].id))
      heap.push_back({target->rank, position, target->merged});
    else
      return false;
    return true;
  };
  for (int32_t i = 0; i + 1 < int32_t(symbols.size()); ++i)
    consider(i);
  std::make_heap(heap.begin(), heap.end(), later);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Scratch::Candidate best = heap.back();
    heap.pop_back();
    Scratch::Symbol &left = symbols[best.position];
    if (!left.live || left.next < 0)
      continue;
    // The pair may have changed since. The reference compares what the pair
    // would merge into, not its rank, and so do we: a changed pair with the
    // same result goes at the old rank.
    Scratch::Symbol &right = symbols[left.next];
    const Target *target = find(left.id, right.id);
    if (!target || target->merged != best.merged)
      continue;
    left.id = best.merged;
    left.next = right.next;
    right.live = false;
    if (left.next >= 0) {
      symbols[left.next].previous = best.position;
      if (consider(best.position))
        std::push_heap(heap.begin(), heap.end(), later);
    }
    if (left.previous >= 0 && consider(left.previous))
      std::push_heap(heap.begin(), heap.end(), later);
  }
}

Expected<void> Bpe::encode(std::string_view piece, std::vector<TokenId> &ids,
                           Scratch &scratch) const {
  if (auto whole = wholePieces.find(piece); whole != wholePieces.end()) {
    ids.push_back(whole->second);
    return {};
  }
  if (Expected<void> added = addSymbols(piece, scratch); !added)
    return added;
  mergeAll(scratch);
  for (const Scratch::Symbol &symbol : scratch.symbols)
    if (symbol.live)
      ids.push_back(symbol.id);
  return {};
}

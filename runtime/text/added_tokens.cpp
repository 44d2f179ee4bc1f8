// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Added tokens in a byte trie. Walking it from each byte of the text is cheap,
// for few bytes start a token; the loader bounds the length of a token.
#include "added_tokens.h"

#include "normalizer.h"

#include <algorithm>

using namespace ee;
using namespace ee::text;

void AddedTokenMatcher::add(const AddedToken &token, std::string_view pattern) {
  if (pattern.empty())
    return;
  uint32_t at = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    unsigned char byte = static_cast<unsigned char>(pattern[i]);
    uint32_t child = 0;
    if (i == 0) {
      child = first[byte];
    } else {
      for (auto [edge, target] : nodes[at].next)
        if (edge == byte)
          child = target;
    }
    if (child == 0) {
      child = uint32_t(nodes.size());
      nodes.emplace_back();
      if (i == 0)
        first[byte] = child;
      else
        nodes[at].next.emplace_back(byte, child);
    }
    at = child;
  }
  if (nodes[at].token >= 0)
    return;
  nodes[at].token = int32_t(tokens.size());
  tokens.push_back(token);
}

AddedTokenMatcher::Found
AddedTokenMatcher::longestAt(std::string_view text) const {
  Found found;
  uint32_t at = first[static_cast<unsigned char>(text[0])];
  for (size_t i = 1; at != 0; ++i) {
    if (nodes[at].token >= 0)
      found = {i, &tokens[nodes[at].token]};
    if (i == text.size())
      break;
    uint32_t child = 0;
    for (auto [edge, target] : nodes[at].next)
      if (edge == static_cast<unsigned char>(text[i]))
        child = target;
    at = child;
  }
  return found;
}

/// Start of the last code point of `text`, which is not empty.
static size_t lastCodePoint(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80)
    --at;
  return at;
}

static bool endsInWord(std::string_view text) {
  return !text.empty() &&
         isWordChar(decodeUtf8(text.substr(lastCodePoint(text))).codePoint);
}

static bool startsWithWord(std::string_view text) {
  return !text.empty() && isWordChar(decodeUtf8(text).codePoint);
}

void AddedTokenMatcher::split(std::string_view text, bool specialAsText,
                              std::vector<Segment> &segments) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    Found found = longestAt(text.substr(at));
    if (!found.token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + found.length;
    // A match that is turned down still uses up its text: a shorter token
    // inside of it is not looked for.
    at = end;
    const AddedToken &token = *found.token;
    if (specialAsText && token.special)
      continue;
    if (token.singleWord &&
        (endsInWord(text.substr(0, begin)) || startsWithWord(text.substr(end))))
      continue;
    if (token.stripLeft) {
      size_t last;
      while (begin > done &&
             (last = lastCodePoint(text.substr(0, begin)),
              isWhiteSpace(decodeUtf8(text.substr(last)).codePoint)))
        begin = last;
      begin = std::max(begin, done);
    }
    if (token.stripRight) {
      while (end < text.size()) {
        Utf8Step step = decodeUtf8(text.substr(end));
        if (!isWhiteSpace(step.codePoint))
          break;
        end += step.length;
      }
    }
    // `done` may lie behind `begin` where the token before took white space
    // with which this one starts.
    if (done < begin)
      segments.push_back({text.substr(done, begin - done), std::nullopt});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size())
    segments.push_back({text.substr(done), std::nullopt});
}

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// SHA-256 through OpenSSL's EVP interface.
#include "ee/sha256.h"

#include <algorithm>
#include <openssl/evp.h>
#include <vector>

using namespace ee;

struct Sha256::State {
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool good = context && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1;
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state(std::make_unique<State>()) {}
Sha256::Sha256(Sha256 &&) noexcept = default;
Sha256 &Sha256::operator=(Sha256 &&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  state->good = state->good && EVP_DigestUpdate(state->context, bytes.data(),
                                                bytes.size()) == 1;
}

Expected<std::string> Sha256::finishHex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  state->good = state->good &&
                EVP_DigestFinal_ex(state->context, digest, &length) == 1 &&
                length == 32;
  if (!state->good)
    return Failure{"the crypto library cannot compute SHA-256"};
  // A second finish must not give the hash of something else.
  state->good = false;
  std::string hex;
  for (unsigned char byte : std::span(digest, length)) {
    constexpr char digits[] = "0123456789abcdef";
    hex += digits[byte >> 4];
    hex += digits[byte & 15];
  }
  return hex;
}

Expected<std::string> ee::sha256Hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finishHex();
}

Expected<std::string> ee::sha256Hex(std::string_view text) {
  return sha256Hex(std::as_bytes(std::span(text)));
}

Expected<std::string> ee::sha256Hex(const File &file) {
  Sha256 hash;
  std::vector<std::byte> piece(std::min<uint64_t>(file.size(), 1 << 20));
  for (uint64_t at = 0; at < file.size(); at += piece.size()) {
    piece.resize(std::min<uint64_t>(piece.size(), file.size() - at));
    if (Expected<void> read = file.readAt(at, piece); !read)
      return read.takeFailure();
    hash.update(piece);
  }
  return hash.finishHex();
}

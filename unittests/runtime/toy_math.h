/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * The arithmetic of the toy model: hashes of integers, so that any KV entry
 * that is missing, misplaced or out of order changes everything behind it.
 * Shared by the staged model (toy_stages.c) and the dense reference. */
#ifndef EE_TOY_MATH_H
#define EE_TOY_MATH_H

#include <stdint.h>

enum {
  TOY_WORDS = 8,
  TOY_VOCAB = 37,
  TOY_LAYERS = 6,
  TOY_LAYERS_PER_LEVEL = 2,
  TOY_PAGE = 4
};

typedef struct toy_state {
  uint32_t word[TOY_WORDS];
} toy_state;

static inline uint32_t toy_hash(uint32_t a, uint32_t b) {
  uint32_t x = a * 0x9e3779b1u ^ (b + 0x7f4a7c15u) * 0x85ebca6bu;
  x ^= x >> 15;
  x *= 0x2c1b3c6du;
  x ^= x >> 12;
  x *= 0x297a2d39u;
  return x ^ (x >> 15);
}

static inline toy_state toy_mix(toy_state s, uint32_t salt) {
  toy_state r;
  for (int i = 0; i < TOY_WORDS; ++i)
    r.word[i] = toy_hash(s.word[i] + s.word[(i + 1) % TOY_WORDS] * 3u,
                         salt + (uint32_t)i);
  return r;
}

static inline toy_state toy_embed(int32_t token, int32_t position) {
  toy_state r;
  for (int i = 0; i < TOY_WORDS; ++i)
    r.word[i] =
        toy_hash((uint32_t)token * 31u + (uint32_t)i, (uint32_t)position * 17u);
  return r;
}

/* Key and value of a state at an unrolled layer. */
static inline toy_state toy_kv(toy_state s, int32_t layer) {
  return toy_mix(s, 1000u + (uint32_t)layer);
}

/* One step of attention: not commutative. */
static inline toy_state toy_attend(toy_state sum, toy_state entry) {
  for (int i = 0; i < TOY_WORDS; ++i)
    sum.word[i] = toy_hash(sum.word[i], entry.word[i]);
  return sum;
}

static inline toy_state toy_attend_start(void) {
  toy_state r = {{1, 2, 3, 4, 5, 6, 7, 8}};
  return r;
}

static inline toy_state toy_layer(toy_state s, toy_state attended,
                                  int32_t layer) {
  for (int i = 0; i < TOY_WORDS; ++i)
    s.word[i] ^= attended.word[i];
  return toy_mix(s, 2000u + (uint32_t)layer);
}

/* Score of an exit, between -10 and 10. */
static inline float toy_score(toy_state s, int32_t exit) {
  return (float)(int32_t)(toy_hash(s.word[0], 77u + (uint32_t)exit) % 2000u) /
             100.0f -
         10.0f;
}

/* What the first exit passes on instead of the state. */
static inline toy_state toy_adapt(toy_state s) { return toy_mix(s, 3000u); }

static inline float toy_logit(toy_state s, int32_t id) {
  uint32_t h = toy_hash(s.word[id % TOY_WORDS], 4000u + (uint32_t)id);
  return (float)(h >> 8) / 1048576.0f;
}

static inline float toy_noise(uint64_t seed, int32_t position, int32_t id) {
  uint32_t h = toy_hash((uint32_t)seed ^ (uint32_t)(seed >> 32),
                        (uint32_t)position * 131u + (uint32_t)id);
  return (float)(h >> 8) / 4194304.0f;
}

#endif

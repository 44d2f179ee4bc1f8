// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The stage ABI: the only thing compiled code and the runtime share at run
// time. Plain C, no behaviour. The same structs serve every device; a pointer
// marked [device] lies in device memory on a GPU.
//
// A *row* is one token of one sequence. A row keeps its slot from the launch
// that embeds it until it is retired, so activations never move between
// launches: `row_store + slot * row_bytes` holds the values that live across
// stage boundaries (columns; offsets in the manifest).
//
// The compiler addresses these structs by field offset. Any change of layout
// or meaning raises EE_STAGE_ABI; the loader refuses other versions.

#ifndef EE_ABI_H
#define EE_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EE_STAGE_ABI 2
#define EE_POLICY_VERSION 1
#define EE_MAX_EXITS 32
#define EE_MAX_LAUNCH_ROWS 65536

// Row flags.
enum {
  EE_ROW_EXIT_ENABLED = 1, // the row may leave at an exit point
  EE_ROW_CATCH_UP = 2,     // the row only pays a debt of KV entries
  EE_ROW_EMITS = 4         // the row's logits are sampled
};

// `script` column: which exit a row takes.
enum {
  EE_SCRIPT_NONE = -1, // decide by criterion and policy
  EE_SCRIPT_FULL = -2  // never leave
}; // k >= 0: leave at exit k and only there

// Policy record: what a decision function may look at besides the criteria.
// Fixed size and versioned; rows index an array of these. 256 bytes.
typedef struct ee_policy {
  uint32_t version;        // EE_POLICY_VERSION
  uint32_t criterion_mask; // bit k set: exit k is active
  uint32_t force_full;     // 1: no row leaves
  uint32_t tier;           // tier bits, 0 = plain exits
  int32_t min_depth;       // unrolled layers a row must have run before leaving
  int32_t max_depth;       // a row at an exit with depth >= max_depth leaves
  int32_t draft_length;    // speculation, 0 = off
  int32_t chunk;           // prefill chunk in rows, 0 = session default
  // CALM decay: threshold(t) = raw + decay_scale * exp(-decay_rate * t), added
  // in logit space; t = position of the row.
  float decay_scale;
  float decay_rate;
  float threshold[EE_MAX_EXITS]; // logit space, per exit index
  uint32_t reserved[22];
} ee_policy;

// Sampling parameters of a sequence. temperature 0 is greedy.
typedef struct ee_sampler {
  float temperature;
  float top_p;   // in (0, 1]; 1 = off
  float min_p;   // in [0, 1); 0 = off
  int32_t top_k; // 0 = off
  uint64_t seed; // Philox key
} ee_sampler;

// Per-row columns, each an array indexed by row slot. [device]
typedef struct ee_rows {
  int32_t *token;    // in: token id to embed; out: sampled id
  int32_t *sequence; // sequence slot
  int32_t *position; // absolute position, 0-based
  int32_t *depth;    // unrolled layers run so far
  int32_t *policy;   // index into ee_stage_args::policies
  int32_t *script;   // EE_SCRIPT_* or an exit index
  uint32_t *flags;   // EE_ROW_*
  int32_t *decision; // out of a deciding stage: 1 leave, 0 stay
  float *criteria;   // [slot][EE_MAX_EXITS], score per exit, logit space
} ee_rows;

// One KV level. Page i lies at `pages + i * page_bytes` (page_bytes and the
// layout inside a page are fixed at compile time, see the manifest).
// Position p of sequence slot s is entry p % page_positions of page
// table[s * table_stride + p / page_positions]. [device]
typedef struct ee_kv_level {
  uint8_t *pages;
  const int32_t *table;
  int64_t table_stride;
} ee_kv_level;

struct ee_stage_args;

// A kernel works on items [begin, end); `worker` is the index of the calling
// team member. `context` is private to the compiled stage.
typedef void (*ee_kernel_fn)(const struct ee_stage_args *args,
                             const void *context, int64_t begin, int64_t end,
                             int64_t worker);

// The persistent thread team. `run` splits [0, items) into grains of at least
// `grain` items, executes them all, and returns when the last one is done.
// Results never depend on who ran which grain.
typedef struct ee_team {
  void (*run)(struct ee_team *self, ee_kernel_fn kernel,
              const struct ee_stage_args *args, const void *context,
              int64_t items, int64_t grain);
  int64_t workers;
} ee_team;

typedef struct ee_stage_args {
  const int32_t *rows;     // [max_rows] row slots, sorted by (sequence,
                           // position) [device]
  const int32_t *n_active; // how many of them count [device]
  int64_t max_rows;        // host-known upper bound of *n_active
  uint8_t *row_store;      // [device]
  ee_rows columns;
  const ee_policy *policies;  // [device]
  const ee_sampler *samplers; // by sequence slot [device]
  const ee_kv_level *kv;      // by level [device]
  const void *const *weights; // by weight index of the manifest [device]
  uint8_t *arena;             // scratch, per_row * max_rows + base [device]
  uint8_t *worker_scratch;    // worker_scratch_bytes per team member
  int64_t worker_scratch_bytes;
  ee_team *team;
} ee_stage_args;

// A stage runs over the rows of `args`. It returns when its outputs are
// complete (CPU) or enqueued (GPU).
typedef void (*ee_stage_fn)(const ee_stage_args *args);

#ifdef __cplusplus
}
static_assert(sizeof(ee_policy) == 256, "policy record is 256 bytes");
static_assert(sizeof(ee_sampler) == 24, "sampler record is 24 bytes");
#endif

#endif // EE_ABI_H

/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * Compiled stages of a toy model of six layers in three KV levels, with exits
 * behind layers 2 and 4. It obeys the stage ABI as compiled code does and
 * counts in toy_errors what the runtime must never do. */
#include "ee/abi.h"
#include "toy_math.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

const int32_t ee_stage_abi = EE_STAGE_ABI;
const char ee_profile[] = "toy";
_Atomic int32_t toy_errors = 0;

enum {
  STATE = 0,
  OUT = 64,
  EARLY_ID = 96, /* behind OUT; a variant only */
  ROW_BYTES = 128,
  LOGITS = 64, /* per_row_offset */
  ENTRY = TOY_WORDS * 4,
  PAGE_BYTES = TOY_PAGE * TOY_LAYERS_PER_LEVEL * ENTRY
};

static toy_state *column(const ee_stage_args *a, int32_t slot, int offset) {
  return (toy_state *)(a->row_store + (ptrdiff_t)slot * ROW_BYTES + offset);
}

static int32_t *early_id(const ee_stage_args *a, int32_t slot) {
  return (int32_t *)(a->row_store + (ptrdiff_t)slot * ROW_BYTES + EARLY_ID);
}

static toy_state *entry(const ee_stage_args *a, int level, int layer,
                        int32_t sequence, int32_t position) {
  const ee_kv_level *kv = &a->kv[level];
  int32_t page = kv->table[sequence * kv->table_stride + position / TOY_PAGE];
  uint8_t *base = kv->pages + (ptrdiff_t)page * PAGE_BYTES;
  return (toy_state *)(base + (layer * TOY_PAGE + position % TOY_PAGE) * ENTRY);
}

static void check_rows(const ee_stage_args *a) {
  if (*a->n_active < 1 || *a->n_active > a->max_rows)
    ++toy_errors;
  for (int32_t i = 1; i < *a->n_active; ++i) {
    int32_t x = a->rows[i - 1], y = a->rows[i];
    if (a->columns.sequence[x] > a->columns.sequence[y] ||
        (a->columns.sequence[x] == a->columns.sequence[y] &&
         a->columns.position[x] >= a->columns.position[y]))
      ++toy_errors;
  }
}

typedef struct {
  int level, layer;
} job;

static void append_kernel(const ee_stage_args *a, const void *context,
                          int64_t begin, int64_t end, int64_t worker) {
  const job *j = context;
  uint8_t *scratch = a->worker_scratch + worker * a->worker_scratch_bytes;
  scratch[0] = 1;
  scratch[63] = 1;
  for (int64_t i = begin; i < end; ++i) {
    int32_t r = a->rows[i];
    *entry(a, j->level, j->layer, a->columns.sequence[r],
           a->columns.position[r]) =
        toy_kv(*column(a, r, STATE),
               j->level * TOY_LAYERS_PER_LEVEL + j->layer);
  }
}

static void attend_kernel(const ee_stage_args *a, const void *context,
                          int64_t begin, int64_t end, int64_t worker) {
  (void)worker;
  const job *j = context;
  for (int64_t i = begin; i < end; ++i) {
    int32_t r = a->rows[i];
    toy_state sum = toy_attend_start();
    for (int32_t p = 0; p <= a->columns.position[r]; ++p)
      sum = toy_attend(
          sum, *entry(a, j->level, j->layer, a->columns.sequence[r], p));
    toy_state *s = column(a, r, STATE);
    *s = toy_layer(*s, sum, j->level * TOY_LAYERS_PER_LEVEL + j->layer);
  }
}

static void layers(const ee_stage_args *a, int level) {
  check_rows(a);
  for (int layer = 0; layer < TOY_LAYERS_PER_LEVEL; ++layer) {
    job j = {level, layer};
    a->team->run(a->team, append_kernel, a, &j, *a->n_active, 1);
    a->team->run(a->team, attend_kernel, a, &j, *a->n_active, 1);
  }
  for (int32_t i = 0; i < *a->n_active; ++i) {
    int32_t r = a->rows[i];
    *column(a, r, OUT) = *column(a, r, STATE);
    a->columns.depth[r] = (level + 1) * TOY_LAYERS_PER_LEVEL;
  }
}

static void decide(const ee_stage_args *a, int exit) {
  for (int32_t i = 0; i < *a->n_active; ++i) {
    int32_t r = a->rows[i];
    const ee_policy *p = &a->policies[a->columns.policy[r]];
    int32_t depth = a->columns.depth[r], script = a->columns.script[r];
    float score = toy_score(*column(a, r, STATE), exit);
    a->columns.criteria[(ptrdiff_t)r * EE_MAX_EXITS + exit] = score;
    int leaves;
    if (script != EE_SCRIPT_NONE)
      leaves = script == exit;
    else
      leaves = (a->columns.flags[r] & EE_ROW_EXIT_ENABLED) && !p->force_full &&
               (p->criterion_mask >> exit & 1) && depth >= p->min_depth &&
               (score >= p->threshold[exit] || depth >= p->max_depth);
    a->columns.decision[r] = leaves;
  }
}

void toy_s0(const ee_stage_args *a) {
  for (int32_t i = 0; i < *a->n_active; ++i) {
    int32_t r = a->rows[i];
    *column(a, r, STATE) =
        toy_embed(a->columns.token[r], a->columns.position[r]);
  }
  layers(a, 0);
  decide(a, 0);
}

void toy_s1(const ee_stage_args *a) {
  layers(a, 1);
  decide(a, 1);
}

void toy_s2(const ee_stage_args *a) { layers(a, 2); }

static void fill(const ee_stage_args *a, int level) {
  check_rows(a);
  for (int layer = 0; layer < TOY_LAYERS_PER_LEVEL; ++layer) {
    job j = {level, layer};
    a->team->run(a->team, append_kernel, a, &j, *a->n_active, 1);
  }
}

void toy_fill1(const ee_stage_args *a) { fill(a, 1); }
void toy_fill2(const ee_stage_args *a) { fill(a, 2); }

void toy_adapt_stage(const ee_stage_args *a) {
  check_rows(a);
  for (int32_t i = 0; i < *a->n_active; ++i)
    *column(a, a->rows[i], OUT) = toy_adapt(*column(a, a->rows[i], STATE));
}

/* Writes the logits of a row and returns the id that it samples. */
static int32_t sample_row(const ee_stage_args *a, int32_t r, toy_state out,
                          float *logits) {
  const ee_sampler *s = &a->samplers[a->columns.sequence[r]];
  float best = 0;
  int32_t chosen = 0;
  for (int32_t id = 0; id < TOY_VOCAB; ++id) {
    float value = logits[id] = toy_logit(out, id);
    value += s->temperature * toy_noise(s->seed, a->columns.position[r], id);
    if (id == 0 || value > best) {
      best = value;
      chosen = id;
    }
  }
  return chosen;
}

void toy_head(const ee_stage_args *a) {
  check_rows(a);
  float *logits = (float *)(a->arena + LOGITS * a->max_rows);
  for (int32_t i = 0; i < *a->n_active; ++i) {
    int32_t r = a->rows[i];
    if (!(a->columns.flags[r] & EE_ROW_EMITS))
      ++toy_errors;
    a->columns.token[r] =
        sample_row(a, r, *column(a, r, OUT), logits + i * TOY_VOCAB);
  }
}

/* A variant in which the first exit's logits and id are known before the
 * decision: the id waits in a column, and the sampling stage hands it on. */
void toy_s0_early(const ee_stage_args *a) {
  toy_s0(a);
  float *logits = (float *)(a->arena + LOGITS * a->max_rows);
  for (int32_t i = 0; i < *a->n_active; ++i) {
    int32_t r = a->rows[i];
    toy_state out = toy_adapt(*column(a, r, STATE));
    *early_id(a, r) = sample_row(a, r, out, logits + i * TOY_VOCAB);
  }
}

void toy_hand_on(const ee_stage_args *a) {
  check_rows(a);
  for (int32_t i = 0; i < *a->n_active; ++i) {
    int32_t r = a->rows[i];
    a->columns.token[r] = *early_id(a, r);
  }
}

void toy_bad_sample(const ee_stage_args *a) {
  toy_head(a);
  for (int32_t i = 0; i < *a->n_active; ++i)
    a->columns.token[a->rows[i]] = TOY_VOCAB;
}

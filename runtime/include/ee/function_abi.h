// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The function ABI: how the runtime calls the code of an artifact of kind
// "function" (docs/ArtifactFormat.md). Plain C, no behaviour. Any change of
// layout or meaning raises EE_FUNCTION_ABI; the loader refuses other versions.

#ifndef EE_FUNCTION_ABI_H
#define EE_FUNCTION_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EE_FUNCTION_ABI 1

// A dense tensor in row-major order, little-endian, a bool in a byte (0 or 1).
typedef struct ee_tensor {
  void *data;    // aligned to its element at least
  int64_t *dims; // `rank` of them
  int64_t rank;
} ee_tensor;

// Memory of results and temporaries. The runtime owns all of it: what the
// function has not released when it returns, results aside, is released then.
typedef struct ee_memory {
  // Room for the product of dims[0..rank) and element_bytes, at least one byte,
  // aligned to 64; null when a dimension is negative, the product overflows or
  // a limit is reached.
  void *(*allocate)(struct ee_memory *self, const int64_t *dims, int64_t rank,
                    int64_t element_bytes);
  void (*release)(struct ee_memory *self, void *data);
} ee_memory;

typedef struct ee_function_args {
  const ee_tensor *inputs;    // in the order of the manifest; never written
  ee_tensor *outputs;         // rank and room for dims given; data and dims set
  const void *const *weights; // by weight index of the manifest; never written
  ee_memory *memory;
  const char *error; // in: null; out: null, or why there are no results
} ee_function_args;

// The inputs have the ranks and static dimensions of the manifest.
typedef void (*ee_function_fn)(ee_function_args *args);

#ifdef __cplusplus
}
#endif

#endif // EE_FUNCTION_ABI_H

// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A function by hand: y[n] = x[n] + w[0], and z[m] of m = count zeros. It keeps
// a temporary that it never releases, and fails by an assertion when count
// is 7.
#include "ee/function_abi.h"

const int32_t ee_function_abi = EE_FUNCTION_ABI;
const char ee_profile[] = "toy";

void toy_function(ee_function_args *args) {
  const ee_tensor *x = &args->inputs[0], *count = &args->inputs[1];
  int64_t n = x->dims[0], m = *(const int64_t *)count->data;
  ee_memory *memory = args->memory;
  if (m == 7) {
    (void)memory->allocate(memory, &n, 1, 4);
    args->error = "seven is refused";
    return;
  }
  float *released = memory->allocate(memory, &n, 1, 4);
  float *y = memory->allocate(memory, &n, 1, 4);
  float *kept = memory->allocate(memory, 0, 0, 16);
  float *z = memory->allocate(memory, &m, 1, 4);
  if (!released || !y || !kept || !z) {
    args->error = "no memory";
    return;
  }
  memory->release(memory, released);
  const float *from = x->data, *w = args->weights[0];
  for (int64_t i = 0; i < n; ++i)
    y[i] = from[i] + w[0];
  for (int64_t i = 0; i < m; ++i)
    z[i] = 0;
  args->outputs[0].data = y;
  args->outputs[0].dims[0] = n;
  args->outputs[1].data = z;
  // Lies about its size where count is 9.
  args->outputs[1].dims[0] = m == 9 ? 1000 : m;
}

/* tgc_selftest.h - runs a compiled model on inputs made up on the spot and compares with results recorded when it was compiled.
 * C99, usable from C++. Nothing here allocates, prints or exits. A model's header offers it as NAME_selftest. */
#ifndef TGC_SELFTEST_H
#define TGC_SELFTEST_H

#include "tgc_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One recorded value: its place in the output, row-major, and its 64 bits; a float widened to double, an integer to 64 bits. */
typedef struct tgc_golden_value {
  uint64_t element;
  uint64_t bits;
} tgc_golden_value;

typedef struct tgc_golden_output {
  const tgc_golden_value *values;
  uint64_t count;
  double tolerance; /* absolute error that passes; for floats only */
} tgc_golden_output;

/* What a model's outputs should be: one row an output, in order. */
typedef struct tgc_golden {
  const tgc_golden_output *outputs;
  uint32_t positive; /* float inputs are in (0, 1] instead of [-1, 1) */
  uint32_t unused;
} tgc_golden;

/* The first wrong value. Integers beyond 2^53 are rounded to double here, but not when they are compared. */
typedef struct tgc_selftest_result {
  uint32_t output;  /* position among the model's outputs */
  uint32_t unused;
  uint64_t element; /* row-major position in that output */
  double expected;
  double found;
} tgc_selftest_result;

/* The steps of a self-test, in order.
 *
 * prepare: places inputs and outputs in `scratch`, aligned to 8 bytes, fills the inputs, and the outputs with 0xff, so that what
 * an earlier run left there is not taken for a result. inputs, outputs: room for one pointer each. TGC_BAD_ARGUMENT where
 * scratch is too small or misaligned. */
tgc_status tgc_selftest_prepare(const tgc_model *model, const tgc_golden *golden, void *scratch, uint64_t scratch_bytes,
                                const void **inputs, void **outputs);

/* run: the main entry point once, after checking the hash of the weights and filling the arena with 0xff. The states are zero before and
 * after. */
tgc_status tgc_selftest_run(const tgc_model *model, const void *weights, void *arena, const void *const *inputs, void *const *outputs);

/* compare: TGC_OK or TGC_BAD_RESULT; then `result`, where not null, says what was wrong. */
tgc_status tgc_selftest_compare(const tgc_model *model, const tgc_golden *golden, void *const *outputs, tgc_selftest_result *result);

#ifdef __cplusplus
}
#endif
#endif

/* Times the model named MODEL: bench_main COUNT INPUTS OUTPUTS [WEIGHTS]. Both files hold the tensors one after the other.
 * Prints the seconds until the model was ready, then those of each run; OUTPUTS gets the results of the first. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tgc_runtime.h"

extern const tgc_model MODEL;

#define MOST 1024

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(uint64_t bytes) {
  void *data = NULL;
  return posix_memalign(&data, MODEL.alignment, bytes + 1) ? NULL : data;
}

static int failed(const char *what) {
  fprintf(stderr, "%s\n", what);
  return 1;
}

int main(int argc, char **argv) {
  const double begin = now();
  const void *inputs[MOST] = {NULL};
  void *outputs[MOST] = {NULL};
  tgc_weights weights = {MODEL.weights, 0};
  void *arena = memory(MODEL.arena_bytes);
  FILE *in, *out;
  tgc_status status = TGC_OK;
  if (argc < 4 || MODEL.input_count > MOST || MODEL.output_count > MOST || !arena) return failed("wrong usage, or no memory");
  in = fopen(argv[2], "rb");
  out = fopen(argv[3], "wb");
  if (!in || !out) return failed("the inputs or the outputs cannot be opened");
  for (uint32_t i = 0; i < MODEL.input_count; ++i) {
    void *data = memory(MODEL.inputs[i].bytes);
    if (!data || (MODEL.inputs[i].bytes && fread(data, MODEL.inputs[i].bytes, 1, in) != 1)) return failed("the inputs are too short");
    inputs[i] = data;
  }
  for (uint32_t i = 0; i < MODEL.output_count; ++i)
    if (!(outputs[i] = memory(MODEL.outputs[i].bytes))) return failed("no memory");
  if (argc > 4) status = tgc_weights_open(&weights, &MODEL, argv[4]);
  if (status == TGC_OK) status = tgc_check_memory(&MODEL, weights.data, arena, MODEL.arena_bytes);
  if (status == TGC_OK) tgc_reset(&MODEL, arena);
  printf("%.9f\n", now() - begin);
  for (long n = 0; n < atol(argv[1]) && status == TGC_OK; ++n) {
    const double start = now();
    status = tgc_run(&MODEL, weights.data, arena, inputs, outputs);
    printf("%.9f\n", now() - start);
    for (uint32_t i = 0; n == 0 && i < MODEL.output_count; ++i)
      if (fwrite(outputs[i], 1, MODEL.outputs[i].bytes, out) != MODEL.outputs[i].bytes) return failed("the outputs cannot be written");
  }
  if (status != TGC_OK) return failed(tgc_status_text(status));
  return fclose(out) ? failed("the outputs cannot be written") : 0;
}

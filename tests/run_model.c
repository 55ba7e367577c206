/* Runs the model named MODEL once, for tests: run_model INPUTS OUTPUTS [WEIGHTS]. Both files hold the tensors one after the other. */
#include <stdio.h>
#include <stdlib.h>

#include "tgc_runtime.h"

extern const tgc_model MODEL;

/* Heap memory of exactly this size, so that a sanitizer sees what reaches beyond it. */
static void *memory(uint64_t bytes) {
  void *data = NULL;
  if (bytes && posix_memalign(&data, MODEL.alignment, bytes)) exit(2);
  return data;
}

int main(int argc, char **argv) {
  const void *inputs[256] = {NULL};
  void *outputs[256] = {NULL};
  tgc_weights weights = {MODEL.weights, 0};
  void *arena = memory(MODEL.arena_bytes);
  FILE *in = argc > 2 ? fopen(argv[1], "rb") : NULL, *out = argc > 2 ? fopen(argv[2], "wb") : NULL;
  if (!in || !out || MODEL.input_count > 256 || MODEL.output_count > 256) return 2;
  for (uint32_t i = 0; i < MODEL.input_count; ++i) {
    void *data = memory(MODEL.inputs[i].bytes);
    if (MODEL.inputs[i].bytes && fread(data, MODEL.inputs[i].bytes, 1, in) != 1) return 2;
    inputs[i] = data ? data : &weights;
  }
  for (uint32_t i = 0; i < MODEL.output_count; ++i) {
    outputs[i] = memory(MODEL.outputs[i].bytes);
    if (!outputs[i]) outputs[i] = &weights;
  }
  tgc_status status = argc > 3 ? tgc_weights_open(&weights, &MODEL, argv[3]) : TGC_OK;
  if (status == TGC_OK) status = tgc_check_memory(&MODEL, weights.data, arena, MODEL.arena_bytes);
  if (status == TGC_OK) status = tgc_run(&MODEL, weights.data, arena, inputs, outputs);
  if (status != TGC_OK) return fprintf(stderr, "%s\n", tgc_status_text(status)), 1;
  for (uint32_t i = 0; i < MODEL.output_count; ++i) fwrite(outputs[i], 1, MODEL.outputs[i].bytes, out);
  fclose(in);
  fclose(out);
  for (uint32_t i = 0; i < MODEL.input_count; ++i) free(MODEL.inputs[i].bytes ? (void *)(uintptr_t)inputs[i] : NULL);
  for (uint32_t i = 0; i < MODEL.output_count; ++i) free(MODEL.outputs[i].bytes ? outputs[i] : NULL);
  free(arena);
  if (argc > 3) tgc_weights_close(&weights);
  return 0;
}

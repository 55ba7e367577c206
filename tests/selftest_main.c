/* Runs the self-test of the model `net` for tests/test_selftest.py: selftest_main [WEIGHTS]. Prints the status and what was off. */
#include <stdio.h>
#include <stdlib.h>

#include "net.h"

int main(int argc, char **argv) {
  tgc_weights weights = {NULL, 0};
  tgc_selftest_result wrong = {0, 0, 0, 0, 0};
  net_context context;
  void *scratch = malloc(NET_SELFTEST_BYTES); /* the heap, so that a sanitizer sees what reaches beyond it */
  tgc_status status;
#ifdef OPENCL
  if (argc > 1 && tgc_weights_open_unchecked(&weights, &net_model.model, argv[1]) != TGC_OK) return 2;
  status = net_init(&context, NULL, weights.data, weights.bytes);
#else
  void *arena = NULL;
  if (NET_ARENA_BYTES && posix_memalign(&arena, NET_ALIGNMENT, NET_ARENA_BYTES)) return 2;
  if (argc > 1 && tgc_weights_open_unchecked(&weights, &net_model, argv[1]) != TGC_OK) return 2;
  status = net_init(&context, arena, NET_ARENA_BYTES, weights.data);
#endif
  if (status != TGC_OK || !scratch) return 2;
  if (net_selftest(&context, scratch, NET_SELFTEST_BYTES - 1, &wrong) != TGC_BAD_ARGUMENT) return 3;
  if (net_selftest(&context, (char *)scratch + 4, NET_SELFTEST_BYTES, &wrong) != TGC_BAD_ARGUMENT) return 3;
  if (net_selftest(&context, NULL, NET_SELFTEST_BYTES, &wrong) != TGC_BAD_ARGUMENT) return 3;
  status = net_selftest(&context, scratch, NET_SELFTEST_BYTES, NULL);
  if (net_selftest(&context, scratch, NET_SELFTEST_BYTES, &wrong) != status) return 3;
  printf("%d %u %lu %.9g %.9g\n", (int)status, (unsigned)wrong.output, (unsigned long)wrong.element, wrong.expected, wrong.found);
  if (net_run(&context) != TGC_BAD_ARGUMENT) return 4; /* nothing is bound */
#ifdef OPENCL
  net_release(&context);
#else
  free(arena);
#endif
  free(scratch);
  tgc_weights_close(&weights);
  return 0;
}

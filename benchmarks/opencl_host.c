/* Times the enqueues of `frames` frames: CPU time of the calling thread. Prints the median and the 99th percentile,
 * in microseconds a frame. Usage: opencl_host FRAMES [SLOTS [record]] */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "empty.h"
#ifdef FAKE
#include "fake_opencl.h"
#endif

static empty_context context;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

int main(int argc, char **argv) {
  const int frames = argc > 1 ? atoi(argv[1]) : 1000;
  const uint32_t slots = argc > 2 ? (uint32_t)atoi(argv[2]) : 1;
  double *times = (double *)malloc((size_t)frames * sizeof *times);
  tgc_status status;
#ifdef FAKE
  fake_reset();
  if (argc > 3) fake.extensions = "cl_qcom_recordable_queues";
#endif
  status = empty_init(&context, NULL, NULL, 0);
  for (uint32_t slot = 0; status == TGC_OK && slot < slots; ++slot) {
    cl_int error = CL_SUCCESS;
    cl_mem in = clCreateBuffer(context.cl.context, CL_MEM_READ_WRITE, 64, NULL, &error);
    cl_mem out = clCreateBuffer(context.cl.context, CL_MEM_READ_WRITE, 64, NULL, &error);
    status = empty_select(&context, slot);
    if (status == TGC_OK) status = empty_bind_input_memory(&context, 0, in, 0);
    if (status == TGC_OK) status = empty_bind_output_memory(&context, 0, out, 0);
    clReleaseMemObject(in);
    clReleaseMemObject(out);
  }
  for (int frame = 0; status == TGC_OK && frame < frames; ++frame) {
    const double start = now();
    status = empty_select(&context, (uint32_t)frame % slots);
    if (status == TGC_OK) status = empty_enqueue(&context, 0, NULL, NULL);
    times[frame] = now() - start;
    clFinish(context.cl.queue); /* not counted */
  }
  if (status != TGC_OK) return fprintf(stderr, "%s\n", tgc_cl_message(&context.cl)), 1;
  qsort(times, (size_t)frames, sizeof *times, compare);
  printf("%.3f %.3f\n", times[frames / 2], times[(frames * 99 + 99) / 100 - 1]);
  empty_release(&context);
  free(times);
  return 0;
}

/* tgc_threads.h - who runs the parts of a kernel. C99, usable from C++.
 *
 * A model compiled with --threads hands each large kernel to a `tgc_parallel`. Make one from the threads that your program has
 * anyway, or let tgc_threads_start make some (POSIX threads). */
#ifndef TGC_THREADS_H
#define TGC_THREADS_H

#include "tgc_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Part `part` of `parts` parts of some work. */
typedef void (*tgc_task)(void *argument, int32_t part, int32_t parts);

/* A pool. `run` calls task(argument, part, parts) for every part from 0 to parts - 1 and returns when all are done. The parts may
 * run in any order, on any threads, at once or one after the other; `parts` may be any number from 1 on, the same for all parts of a task. */
typedef struct tgc_parallel {
  void (*run)(const struct tgc_parallel *self, tgc_task task, void *argument);
  int32_t parts;
} tgc_parallel;

#define TGC_MOST_THREADS 64

typedef struct tgc_threads tgc_threads;

/* Bytes that a tgc_threads takes, at an address that is a multiple of 64. */
uint64_t tgc_threads_bytes(void);

/* Makes a pool of `count` threads in `memory`, the calling one among them. Each takes the next part that nobody does yet.
 * One task at a time: let one thread use it.
 * Waiting threads look for work for some microseconds and then sleep. TGC_BAD_ARGUMENT for memory or a count that does not do, TGC_NO_MEMORY
 * where the system makes no more threads; then there is nothing to stop. */
tgc_status tgc_threads_start(tgc_threads **pool, void *memory, uint64_t bytes, int32_t count);

/* What to hand to NAME_run_parallel. */
const tgc_parallel *tgc_threads_parallel(const tgc_threads *pool);

/* Ends the threads. The memory is the caller's again. */
void tgc_threads_stop(tgc_threads *pool);

#ifdef __cplusplus
}
#endif
#endif

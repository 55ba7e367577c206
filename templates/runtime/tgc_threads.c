/* tgc_threads.c - a small pool of POSIX threads for tgc_parallel. Nothing here allocates from the heap, prints or exits. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "tgc_threads.h"

#include <pthread.h>
#include <sched.h>

#if !defined(__GNUC__)
#error "tgc_threads.c needs the atomic operations of GCC or Clang; with another compiler make a tgc_parallel of your own"
#endif

#define LOOKS 20000 /* for work, before a thread sleeps; some tens of microseconds */

typedef struct worker {
  tgc_threads *pool;
  pthread_t thread;
  int32_t part;
} worker;

/* round: the number of the task; it changes when there is a new one. left: parts that others still do. asleep: threads that have to be
 * woken. task and argument are written before `round` changes and read after. */
struct tgc_threads {
  tgc_parallel parallel;
  tgc_task task;
  void *argument;
  uint32_t round;
  int32_t left;
  int32_t asleep;
  int32_t stopping;
  pthread_mutex_t lock;
  pthread_cond_t woken;
  worker workers[TGC_MOST_THREADS];
};

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Waits for a round after `seen`; answers its number. */
static uint32_t next_round(tgc_threads *pool, uint32_t seen) {
  uint32_t now;
  for (int looks = 0; looks < LOOKS; ++looks) {
    now = __atomic_load_n(&pool->round, __ATOMIC_ACQUIRE);
    if (now != seen) return now;
    pause_briefly();
  }
  pthread_mutex_lock(&pool->lock);
  __atomic_add_fetch(&pool->asleep, 1, __ATOMIC_SEQ_CST);
  while ((now = __atomic_load_n(&pool->round, __ATOMIC_SEQ_CST)) == seen) pthread_cond_wait(&pool->woken, &pool->lock);
  __atomic_sub_fetch(&pool->asleep, 1, __ATOMIC_SEQ_CST);
  pthread_mutex_unlock(&pool->lock);
  return now;
}

/* A new round: threads that look see it, those asleep are woken. The order of the two (round, then asleep) is the reverse of next_round's,
 * so that one of both sides always sees the other. */
static void begin_round(tgc_threads *pool) {
  __atomic_add_fetch(&pool->round, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) > 0) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->woken);
    pthread_mutex_unlock(&pool->lock);
  }
}

static void *work(void *argument) {
  const worker *self = (const worker *)argument;
  tgc_threads *pool = self->pool;
  uint32_t seen = 0;
  for (;;) {
    seen = next_round(pool, seen);
    if (__atomic_load_n(&pool->stopping, __ATOMIC_ACQUIRE)) return NULL;
    pool->task(pool->argument, self->part, pool->parallel.parts);
    __atomic_sub_fetch(&pool->left, 1, __ATOMIC_RELEASE);
  }
}

static void run(const tgc_parallel *self, tgc_task task, void *argument) {
  tgc_threads *pool = (tgc_threads *)(uintptr_t)self; /* its first member */
  pool->task = task;
  pool->argument = argument;
  __atomic_store_n(&pool->left, self->parts - 1, __ATOMIC_RELAXED);
  begin_round(pool);
  task(argument, 0, self->parts);
  for (int looks = 0; __atomic_load_n(&pool->left, __ATOMIC_ACQUIRE) > 0; ++looks) {
    if (looks < LOOKS) pause_briefly();
    else sched_yield();
  }
}

static void stop(tgc_threads *pool, int32_t started) {
  __atomic_store_n(&pool->stopping, 1, __ATOMIC_RELEASE);
  begin_round(pool);
  for (int32_t part = 1; part < started; ++part) pthread_join(pool->workers[part].thread, NULL);
  pthread_cond_destroy(&pool->woken);
  pthread_mutex_destroy(&pool->lock);
}

uint64_t tgc_threads_bytes(void) { return sizeof(struct tgc_threads); }

tgc_status tgc_threads_start(tgc_threads **result, void *memory, uint64_t bytes, int32_t count) {
  tgc_threads *pool = (tgc_threads *)memory;
  if (!result || !memory || bytes < sizeof *pool || (uintptr_t)memory % 64 || count < 1 || count > TGC_MOST_THREADS) return TGC_BAD_ARGUMENT;
  pool->parallel.run = run;
  pool->parallel.parts = count;
  pool->task = NULL;
  pool->argument = NULL;
  pool->round = 0;
  pool->left = 0;
  pool->asleep = 0;
  pool->stopping = 0;
  if (pthread_mutex_init(&pool->lock, NULL)) return TGC_NO_MEMORY;
  if (pthread_cond_init(&pool->woken, NULL)) return pthread_mutex_destroy(&pool->lock), TGC_NO_MEMORY;
  for (int32_t part = 1; part < count; ++part) {
    worker *self = &pool->workers[part];
    self->pool = pool;
    self->part = part;
    if (pthread_create(&self->thread, NULL, work, self)) return stop(pool, part), TGC_NO_MEMORY;
  }
  *result = pool;
  return TGC_OK;
}

const tgc_parallel *tgc_threads_parallel(const tgc_threads *pool) { return &pool->parallel; }

void tgc_threads_stop(tgc_threads *pool) { stop(pool, pool->parallel.parts); }

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
} worker;

/* ticket: the number of the task, which changes when there is a new one, and in the lower 32 bits the next part of it that nobody does
 * yet. left: parts that are not done. asleep: threads that have to be woken. task and argument are written before a task's number is and
 * read by those who hold a part of it; while one is held, there is no next task. */
struct tgc_threads {
  tgc_parallel parallel;
  tgc_task task;
  void *argument;
  uint64_t ticket;
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

/* The number of the task that is there, as a thread sees it who goes to sleep or looks for sleepers next. */
static uint32_t number_of_task(const tgc_threads *pool) { return (uint32_t)(__atomic_load_n(&pool->ticket, __ATOMIC_SEQ_CST) >> 32); }

/* Waits for a task after `seen`; answers its number. */
static uint32_t next_task(tgc_threads *pool, uint32_t seen) {
  uint32_t now;
  for (int looks = 0; looks < LOOKS; ++looks) {
    now = number_of_task(pool);
    if (now != seen) return now;
    pause_briefly();
  }
  pthread_mutex_lock(&pool->lock);
  __atomic_add_fetch(&pool->asleep, 1, __ATOMIC_SEQ_CST);
  while ((now = number_of_task(pool)) == seen) pthread_cond_wait(&pool->woken, &pool->lock);
  __atomic_sub_fetch(&pool->asleep, 1, __ATOMIC_SEQ_CST);
  pthread_mutex_unlock(&pool->lock);
  return now;
}

/* Announces the task after `seen`: threads that look see it, those asleep are woken. The order of the two (number, then asleep) is the reverse
 * of next_task's, so that one of both sides always sees the other. */
static void announce(tgc_threads *pool, uint32_t seen) {
  __atomic_store_n(&pool->ticket, (uint64_t)(seen + 1) << 32, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) > 0) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->woken);
    pthread_mutex_unlock(&pool->lock);
  }
}

/* Does parts of the task `number` until nobody has to begin one. So a thread that another program keeps from running delays nobody. */
static void help(tgc_threads *pool, uint32_t number) {
  const int32_t parts = pool->parallel.parts;
  uint64_t ticket = __atomic_load_n(&pool->ticket, __ATOMIC_ACQUIRE);
  while ((uint32_t)(ticket >> 32) == number && (int32_t)(uint32_t)ticket < parts) {
    if (!__atomic_compare_exchange_n(&pool->ticket, &ticket, ticket + 1, 1, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
    pool->task(pool->argument, (int32_t)(uint32_t)ticket, parts);
    __atomic_sub_fetch(&pool->left, 1, __ATOMIC_RELEASE);
    ticket = __atomic_load_n(&pool->ticket, __ATOMIC_ACQUIRE);
  }
}

static void *work(void *argument) {
  tgc_threads *pool = ((const worker *)argument)->pool;
  uint32_t seen = 0;
  for (;;) {
    seen = next_task(pool, seen);
    if (__atomic_load_n(&pool->stopping, __ATOMIC_ACQUIRE)) return NULL;
    help(pool, seen);
  }
}

static void run(const tgc_parallel *self, tgc_task task, void *argument) {
  tgc_threads *pool = (tgc_threads *)(uintptr_t)self; /* its first member */
  const uint32_t seen = number_of_task(pool);
  pool->task = task;
  pool->argument = argument;
  __atomic_store_n(&pool->left, self->parts, __ATOMIC_RELAXED);
  announce(pool, seen);
  help(pool, seen + 1);
  for (int looks = 0; __atomic_load_n(&pool->left, __ATOMIC_ACQUIRE) > 0; ++looks) {
    if (looks < LOOKS) pause_briefly();
    else sched_yield();
  }
}

static void stop(tgc_threads *pool, int32_t started) {
  __atomic_store_n(&pool->stopping, 1, __ATOMIC_RELEASE);
  announce(pool, number_of_task(pool));
  for (int32_t number = 1; number < started; ++number) pthread_join(pool->workers[number].thread, NULL);
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
  pool->ticket = 0;
  pool->left = 0;
  pool->asleep = 0;
  pool->stopping = 0;
  if (pthread_mutex_init(&pool->lock, NULL)) return TGC_NO_MEMORY;
  if (pthread_cond_init(&pool->woken, NULL)) return pthread_mutex_destroy(&pool->lock), TGC_NO_MEMORY;
  for (int32_t number = 1; number < count; ++number) {
    worker *self = &pool->workers[number];
    self->pool = pool;
    if (pthread_create(&self->thread, NULL, work, self)) return stop(pool, number), TGC_NO_MEMORY;
  }
  *result = pool;
  return TGC_OK;
}

const tgc_parallel *tgc_threads_parallel(const tgc_threads *pool) { return &pool->parallel; }

void tgc_threads_stop(tgc_threads *pool) { stop(pool, pool->parallel.parts); }

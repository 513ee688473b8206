/*
 * Five tasks of twenty threads, for killing criu in the middle of a dump. Each thread counts in its own place of the
 * shared file "counters" (so that the harness sees it run on), checks its registers, its stack and its private memory,
 * and ends the whole task with SIGABRT when anything is wrong.
 */
#include "selftest.h"
#include <pthread.h>

#define TASKS 5
#define THREADS 20
#define PRIVATE_BYTES (9UL << 20) /* enough for a copy-on-write twin */

static volatile uint64_t *counters;
static uint8_t *memory;
static int task;
static time_t ends_at;

static void *run(void *argument) {
  int index = (int)(intptr_t)argument;
  uint64_t local[64];
  st_fill(local, sizeof local, (uint64_t)index);
  for (uint64_t step = 1;; step++) {
    uint64_t a = step * 3, b = step ^ 0x5555;
    __asm__ volatile("" : "+r"(a), "+r"(b));
    if (index == 1) /* one thread of each task is in user mode most of the time, the others in system calls */
      for (volatile int spin = 0; spin < 100000; spin++) {}
    usleep(1000 + (unsigned)index * 100);
    __asm__ volatile("" : "+r"(a), "+r"(b));
    if (a != step * 3 || b != (step ^ 0x5555)) abort();
    if (st_first_wrong(local, sizeof local, (uint64_t)index) >= 0) abort();
    if (st_first_wrong(memory + index * 4096, 4096, (uint64_t)index) >= 0) abort();
    counters[task * THREADS + index] = step;
    if (time(NULL) > ends_at) _exit(94);
  }
  return NULL;
}

static void run_task(int number) {
  task = number;
  memory = MUST_MAP(mmap(NULL, PRIVATE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  st_fill(memory, PRIVATE_BYTES, 1);
  for (int i = 0; i < THREADS; i++) st_fill(memory + i * 4096, 4096, (uint64_t)i);
  for (int i = 1; i < THREADS; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void *)(intptr_t)i) != 0) st_die(__FILE__, __LINE__, "pthread_create");
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  ends_at = time(NULL) + ST_LIFE_SECONDS;
  int fd = MUST(open("counters", O_RDWR | O_CREAT | O_TRUNC, 0666));
  MUST(ftruncate(fd, TASKS * THREADS * 8));
  counters = MUST_MAP(mmap(NULL, TASKS * THREADS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  close(fd);
  for (int i = 1; i < TASKS; i++)
    if (MUST(fork()) == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      run_task(i);
      run((void *)0);
    }
  run_task(0);
  for (int i = 0; i < TASKS * THREADS; i++) {
    if (i == 0) continue;
    WAIT_FOR(counters[i] > 0);
  }
  char text[64];
  snprintf(text, sizeof text, "ready 0 %d", getpid());
  st_publish(text);
  run((void *)0);
}

/*
 * The address that the kernel clears and wakes when a thread ends (set_tid_address): pthread_join depends on it. Also a
 * leader thread that has ended while the others go on.
 */
#include "selftest.h"
#include <pthread.h>

static volatile int may_end, running;

static void *run(void *argument) {
  __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
  while (!may_end) usleep(3000);
  return (char *)argument + 1;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  for (intptr_t round = 1;; round++) {
    pthread_t threads[5];
    may_end = running = 0;
    for (intptr_t i = 0; i < 5; i++) pthread_create(&threads[i], NULL, run, (void *)(round * 100 + i));
    WAIT_FOR(running == 5); /* a new thread has all signals blocked for a moment */
    st_next();
    may_end = 1;
    for (intptr_t i = 0; i < 5; i++) {
      void *value = NULL;
      struct timespec limit;
      clock_gettime(CLOCK_REALTIME, &limit);
      limit.tv_sec += 5;
      CHECK_EQ(pthread_timedjoin_np(threads[i], &value, &limit), 0);
      CHECK_EQ((intptr_t)value, round * 100 + i + 1);
    }
  }
}

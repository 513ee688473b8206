/*
 * Threads that are in and out of system calls all the time, and catch every signal that is ignored by default: each writes
 * numbers to a pipe of its own and reads them again. A call that is made twice, or not at all, is a wrong number.
 */
#include "selftest.h"
#include <pthread.h>

#define THREADS 4
#define PRIVATE_BYTES (9UL << 20) /* enough for a copy-on-write twin */

static volatile int stop;
static volatile uint64_t done[THREADS];
static int pipes[THREADS][2];

static void on_signal(int signal) { (void)signal; }

static void *run(void *argument) {
  intptr_t index = (intptr_t)argument;
  int *ends = pipes[index];
  for (uint64_t number = 1; !stop; number++) {
    uint64_t written[4] = {number, number + 1, number + 2, number + 3}, got = 0;
    for (int i = 0; i < 4; i++) CHECK_EQ(write(ends[1], &written[i], 8), 8);
    for (int i = 0; i < 4; i++) {
      CHECK_EQ(read(ends[0], &got, 8), 8);
      CHECK_EQ(got, written[i]);
    }
    done[index] = number;
  }
  return NULL;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *memory = MUST_MAP(mmap(NULL, PRIVATE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  st_fill(memory, PRIVATE_BYTES, 1);
  int ignored[] = {SIGURG, SIGWINCH, SIGCHLD, SIGCONT};
  for (int i = 0; i < 4; i++) sigaction(ignored[i], &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
  for (intptr_t i = 0; i < THREADS; i++) {
    pthread_t thread;
    MUST(pipe(pipes[i]));
    if (pthread_create(&thread, NULL, run, (void *)i) != 0) st_die(__FILE__, __LINE__, "pthread_create");
  }
  for (int i = 0; i < THREADS; i++) WAIT_FOR(done[i] > 0);
  while (st_next()) {
    CHECK_FILL(memory, PRIVATE_BYTES, 1);
    for (int i = 0; i < THREADS; i++) {
      uint64_t before = done[i];
      WAIT_FOR(done[i] > before || st_failure_count > 0);
    }
  }
}

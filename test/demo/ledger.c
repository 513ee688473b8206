/*
 * The program of the demo: three threads and a child count, a secret is held in memory only, every tick is written to an
 * open file. Started as `ledger JOURNAL`; each line has the form that demo.ts reads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#define MEMORY_WORDS (1 << 20) /* 8 MiB */

static volatile uint64_t ticks_of_threads[3];

static void *count(void *argument) {
  char name[16];
  int index = (int)(intptr_t)argument;
  snprintf(name, sizeof name, "counter-%d", index + 1);
  prctl(PR_SET_NAME, name);
  for (;;) {
    ticks_of_threads[index]++;
    usleep(10000);
  }
  return NULL;
}

int main(int argc, char **argv) {
  uint64_t secret = 0;
  if (argc < 2 || getrandom(&secret, sizeof secret, 0) != sizeof secret) return 2;
  int journal = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (journal < 0) return 2;
  volatile uint64_t *of_child = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NAME, "ledger-child");
    for (;;) {
      ++*of_child;
      usleep(10000);
    }
  }
  for (intptr_t i = 0; i < 3; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, count, (void *)i);
  }
  uint64_t *memory = malloc(MEMORY_WORDS * sizeof *memory);
  for (size_t i = 0; i < MEMORY_WORDS; i++) memory[i] = secret + i;
  for (uint64_t tick = 1;; tick++) {
    size_t wrong = 0;
    for (size_t i = 0; i < MEMORY_WORDS; i++) wrong += memory[i] != secret + i;
    dprintf(journal, "tick=%lu pid=%d child=%d childTicks=%lu threads=%lu,%lu,%lu memory=%s secret=%016lx\n", tick, getpid(), child,
            *of_child, ticks_of_threads[0], ticks_of_threads[1], ticks_of_threads[2], wrong ? "DAMAGED" : "good", secret);
    usleep(100000);
  }
}

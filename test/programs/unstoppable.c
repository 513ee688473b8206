/*
 * A task that no tracer can stop: it waits in vfork for a child that neither executes nor ends. The child counts in
 * shared memory; the status is published by a third task.
 */
#include "selftest.h"

int main(int argc, char **argv) {
  st_init(argc, argv);
  volatile uint64_t *counter = MUST_MAP(mmap(NULL, ST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (MUST(fork()) == 0) {
    pid_t child = vfork();
    if (child == 0)
      for (int naps = 0; naps < 60000; naps++) ++*counter, syscall(SYS_nanosleep, &(struct timespec){0, 2000000}, NULL);
    _exit(0);
  }
  WAIT_FOR(*counter > 3);
  while (st_next()) {
    uint64_t before = *counter;
    WAIT_FOR(*counter > before + 3);
  }
}

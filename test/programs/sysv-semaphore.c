/*
 * A System V semaphore, which belongs to the machine and goes on without the program. With the argument "undo" the
 * program holds it with SEM_UNDO. With "shared" a set of two semaphores is used by a child too, which waits for one of
 * them during the dump (semop), and answers by the other. Its id is in the file "semaphores": the test removes it.
 */
#include "selftest.h"

#include <sys/sem.h>

/* semop is interrupted by whatever stops a task (man 7 signal, "Interruption of system calls ... by stop signals"). */
static int change(int set, struct sembuf *how) {
  int result;
  do result = semop(set, how, 1);
  while (result != 0 && errno == EINTR);
  return result;
}

/* The child takes three at once, which the parent gives in two parts: one before the dump, and the rest afterwards. */
static void share(int set) {
  struct sembuf give = {0, 1, 0}, rest = {0, 2, 0}, take = {0, -3, 0}, answer = {1, 5, 0}, taken = {1, -5, 0};
  if (MUST(fork()) == 0) {
    for (;;)
      if (change(set, &take) != 0 || change(set, &answer) != 0) _exit(errno);
  }
  for (;;) {
    WAIT_FOR(semctl(set, 0, GETNCNT) == 1);
    MUST(semop(set, &give, 1));
    st_next();
    CHECK_EQ(semctl(set, 0, GETVAL), 1);
    CHECK_EQ(semctl(set, 1, GETVAL), 0);
    WAIT_FOR(semctl(set, 0, GETNCNT) == 1);
    CHECK_EQ(semop(set, &rest, 1), 0);
    CHECK(semtimedop(set, &taken, 1, &(struct timespec){5, 0}) == 0, "the child does not answer: %s", strerror(errno));
    CHECK_EQ(semctl(set, 0, GETVAL), 0);
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int set = MUST(semget(IPC_PRIVATE, 2, 0600));
  FILE *file = fopen("semaphores", "w");
  if (!file || fprintf(file, "%d", set) < 0 || fclose(file) != 0) st_die(__FILE_NAME__, __LINE__, "semaphores");
  if (argc > 2 && strcmp(argv[2], "shared") == 0) share(set);
  short flags = argc > 2 ? SEM_UNDO : 0;
  struct sembuf give = {0, 3, 0}, take = {0, -1, flags};
  MUST(semop(set, &give, 1));
  MUST(semop(set, &take, 1));
  int value = 2;
  while (st_next()) {
    CHECK_EQ(semctl(set, 0, GETVAL), value);
    CHECK_EQ(semop(set, &take, 1), 0);
    if (--value > 0) continue;
    CHECK_EQ(semop(set, &give, 1), 0);
    value = 3;
  }
}

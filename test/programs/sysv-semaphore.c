/*
 * A System V semaphore, which belongs to the machine and goes on without the program. With the argument "undo" the
 * program holds it with SEM_UNDO. Its id is in the file "semaphores": the test removes it.
 */
#include "selftest.h"

#include <sys/sem.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  int set = MUST(semget(IPC_PRIVATE, 1, 0600));
  FILE *file = fopen("semaphores", "w");
  if (!file || fprintf(file, "%d", set) < 0 || fclose(file) != 0) st_die(__FILE_NAME__, __LINE__, "semaphores");
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

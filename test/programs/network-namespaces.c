/* A child in another network namespace than its parent, or, with the argument "thread", a thread of the parent. */
/* flags: -pthread */
#include "selftest.h"

#include <pthread.h>

static void *move_thread(void *unused) {
  MUST(unshare(CLONE_NEWNET));
  (void)unused;
  for (;;) pause();
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int in_thread = argc > 2;
  pid_t child = 0;
  if (in_thread) {
    pthread_t thread;
    pthread_create(&thread, NULL, move_thread, NULL);
    usleep(50000);
  } else if ((child = fork()) == 0) {
    MUST(unshare(CLONE_NEWNET));
    st_child("child");
    while (st_next()) continue;
    _exit(0);
  } else {
    st_wait_child("child");
  }
  while (st_next()) continue;
}

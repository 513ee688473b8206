/* A child in seccomp strict mode: it may only read, write and return, and is killed for anything else. */
#include "selftest.h"
#include <linux/seccomp.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  int ask[2], answer[2];
  for (;;) {
    MUST(pipe(ask));
    MUST(pipe(answer));
    pid_t child = MUST(fork());
    if (child == 0) {
      char byte;
      close(ask[1]), close(answer[0]); /* so that it sees the end of its parent */
      MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
      while (syscall(SYS_read, ask[0], &byte, 1) == 1) {
        byte++;
        if (byte == 'Z') syscall(SYS_getpid);
        syscall(SYS_write, answer[1], &byte, 1);
      }
      syscall(SYS_exit, 1);
    }
    close(ask[0]), close(answer[1]);
    char byte = 'a';
    MUST(write(ask[1], &byte, 1));
    MUST(read(answer[0], &byte, 1));
    st_next();
    byte = 'k';
    CHECK_EQ(write(ask[1], &byte, 1), 1);
    CHECK_EQ(read(answer[0], &byte, 1), 1);
    CHECK_EQ(byte, 'l');
    byte = 'Y';
    CHECK_EQ(write(ask[1], &byte, 1), 1);
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child may do more than before: status %x", status);
    close(ask[1]), close(answer[0]);
  }
}

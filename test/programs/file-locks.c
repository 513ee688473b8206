/* File locks: flock, POSIX record locks, open-file-description locks, a lease. A dump needs --file-locks. */
#include "selftest.h"
#include <sys/file.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  int by_flock = MUST(open("flock", O_RDWR | O_CREAT, 0600)), posix = MUST(open("posix", O_RDWR | O_CREAT, 0600));
  int ofd = MUST(open("ofd", O_RDWR | O_CREAT, 0600));
  MUST(flock(by_flock, LOCK_EX));
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
  MUST(fcntl(posix, F_SETLK, &lock));
  struct flock ofd_lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 0};
  MUST(fcntl(ofd, F_OFD_SETLK, &ofd_lock));
  while (st_next()) {
    int other = open("flock", O_RDWR);
    CHECK(flock(other, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the flock is gone");
    close(other);
    if (fork() == 0) {
      int mine = open("posix", O_RDWR), theirs = open("ofd", O_RDWR);
      struct flock ask = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
      int ok = fcntl(mine, F_GETLK, &ask) == 0 && ask.l_type == F_WRLCK && ask.l_start == 10 && ask.l_len == 20 && ask.l_pid == getppid();
      struct flock ask_ofd = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
      ok |= (fcntl(theirs, F_OFD_GETLK, &ask_ofd) == 0 && ask_ofd.l_type == F_RDLCK && ask_ofd.l_start == 5) ? 2 : 0;
      _exit(ok);
    }
    int status = 0;
    wait(&status);
    CHECK(WEXITSTATUS(status) & 1, "the POSIX lock is gone or another");
    CHECK(WEXITSTATUS(status) & 2, "the open-file-description lock is gone or another");
  }
}

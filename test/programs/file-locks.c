/*
 * File locks: flock, also of a description that two tasks share, POSIX record locks of the program and of a child, locks of
 * open file descriptions. A dump needs --file-locks. Leases are in passed-files.c.
 */
#include "selftest.h"
#include <sys/file.h>

static int make(const char *path) { return MUST(open(path, O_RDWR | O_CREAT, 0600)); }

static void lock_record(int fd, off_t start, off_t length) {
  MUST(fcntl(fd, F_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length}));
}

/* A POSIX lock that another task has. */
static void check_record(const char *path, off_t start, off_t length, pid_t owner) {
  int fd = MUST(open(path, O_RDWR));
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  CHECK_EQ(fcntl(fd, F_GETLK, &lock), 0);
  CHECK(lock.l_type == F_WRLCK && lock.l_start == start && lock.l_len == length && lock.l_pid == owner,
        "%s: the lock is %d from %ld, %ld bytes, of %d", path, lock.l_type, (long)lock.l_start, (long)lock.l_len, lock.l_pid);
  close(fd);
}

/* Two tasks have the lock, and change it in turn from exclusive to shared and back. */
static void take_turn(int fd, volatile int *turn, int mine) {
  WAIT_FOR(*turn == mine);
  int other = MUST(open("shared", O_RDWR)), is_exclusive = mine % 2 == 0;
  CHECK((flock(other, LOCK_SH | LOCK_NB) == 0) == !is_exclusive, "turn %d: the shared flock is gone, or exclusive", mine);
  CHECK(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK, "turn %d: the shared flock is gone", mine);
  close(other);
  CHECK_EQ(flock(fd, (is_exclusive ? LOCK_SH : LOCK_EX) | LOCK_NB), 0);
  *turn = mine + 1;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int by_flock = make("flock"), posix = make("posix"), ofd = make("ofd"), shared = make("shared");
  volatile int *turn = MUST_MAP(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  MUST(flock(by_flock, LOCK_EX)), MUST(flock(shared, LOCK_EX));
  lock_record(posix, 10, 20);
  struct flock ofd_lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 0};
  MUST(fcntl(ofd, F_OFD_SETLK, &ofd_lock));
  pid_t child = MUST(fork());
  if (child == 0) {
    st_child("child");
    close(by_flock), close(posix), close(ofd);
    lock_record(make("posix-child"), 100, 1);
    for (int round = 0; st_next(); round++) {
      check_record("posix", 10, 20, getppid());
      take_turn(shared, turn, 2 * round + 1);
    }
  }
  st_wait_child("child");
  for (int round = 0; st_next(); round++) {
    int other = open("flock", O_RDWR);
    CHECK(flock(other, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the flock is gone");
    close(other);
    check_record("posix-child", 100, 1, child);
    other = open("ofd", O_RDWR);
    struct flock ask = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK(fcntl(other, F_OFD_GETLK, &ask) == 0 && ask.l_type == F_RDLCK && ask.l_start == 5 && ask.l_len == 0, "the open-file-description lock is gone or another");
    close(other);
    take_turn(shared, turn, 2 * round);
  }
}

/* pidfds of the process itself, a child, a zombie and a process that was reaped; descriptors of namespaces. */
#include "selftest.h"
#include <poll.h>

static int pidfd_of(pid_t pid, unsigned int flags) {
  return MUST((int)syscall(SYS_pidfd_open, pid, flags));
}

static int is_readable(int fd) {
  return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 1;
}

static int is_there(int fd) {
  return syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0;
}

static void same_namespace(int fd, const char *name) {
  struct stat found, wanted;
  MUST(fstat(fd, &found));
  MUST(stat(name, &wanted));
  CHECK(found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino, "it is not %s", name);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  pid_t child = MUST(fork());
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  pid_t zombie = MUST(fork());
  if (zombie == 0) _exit(3);
  pid_t reaped = MUST(fork());
  if (reaped == 0) _exit(4);
  int self = pidfd_of(getpid(), 0), living = pidfd_of(child, O_NONBLOCK), ended = pidfd_of(zombie, 0);
  int dead = pidfd_of(reaped, 0), again = pidfd_of(reaped, O_NONBLOCK);
  MUST(waitpid(reaped, NULL, 0));
  CHECK(poll(&(struct pollfd){.fd = ended, .events = POLLIN}, 1, 3000) == 1, "the zombie does not end");
  int net = MUST(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)), mnt = MUST(open("/proc/self/ns/mnt", O_RDONLY));
  while (st_next()) {
    CHECK(is_there(self) && !is_readable(self), "the pidfd of the process itself");
    CHECK(is_there(living) && !is_readable(living), "the pidfd of the child");
    CHECK_EQ(fcntl(living, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK(is_readable(ended), "the pidfd of the zombie");
    CHECK(!is_there(dead) && errno == ESRCH && is_readable(dead), "the pidfd of the process that was reaped");
    struct stat one, other;
    MUST(fstat(dead, &one));
    MUST(fstat(again, &other));
    CHECK(one.st_ino == other.st_ino, "two pidfds of one dead process are two processes now");
    same_namespace(net, "/proc/self/ns/net");
    same_namespace(mnt, "/proc/self/ns/mnt");
  }
  return 0;
}

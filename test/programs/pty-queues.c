/*
 * What is on the way through pseudo terminals: lines and a part of a line, with echo; bytes in raw and packet mode; what
 * a slave left behind that is closed. Also a master whose slave was never opened, a slave that is hung up, a terminal
 * that is locked or exclusive, a foreground group that is not its session's, and FD_CLOEXEC, which /proc shows for each
 * descriptor of a slave that was opened with O_CLOEXEC by its master.
 */
#include "selftest.h"
#include <sys/ioctl.h>
#include <termios.h>

static int open_master(void) {
  int master = MUST(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  MUST(ioctl(master, TIOCSPTLCK, &(int){0}));
  return master;
}

static int open_slave(int master) { return MUST(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)); }

static void make_raw(int slave) {
  struct termios settings;
  MUST(tcgetattr(slave, &settings));
  cfmakeraw(&settings);
  MUST(tcsetattr(slave, TCSANOW, &settings));
}

static void put(int fd, const char *text) {
  if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) st_failf(__FILE_NAME__, __LINE__, "write: %s", strerror(errno));
}

/* One read; for an empty string, that there is nothing to read, or the error `wanted_errno`. */
static void expect(int line, int fd, const char *wanted, size_t length, int wanted_errno) {
  char text[64] = "";
  ssize_t got = -1;
  // The kernel passes on in the background what was just written.
  for (int tries = 0; tries < 50 && got < 0; tries++) {
    got = read(fd, text, sizeof text - 1);
    if (got < 0 && length == 0) break;
    if (got < 0) usleep(2000);
  }
  if (length == 0 && (got >= 0 || errno != wanted_errno))
    st_failf(__FILE_NAME__, line, "got %zd bytes (%s), wanted errno %d", got, got < 0 ? strerror(errno) : text, wanted_errno);
  if (length > 0 && (got != (ssize_t)length || memcmp(text, wanted, length) != 0))
    st_failf(__FILE_NAME__, line, "read %zd bytes: '%s'", got, text);
}

#define EXPECT(fd, wanted) expect(__LINE__, fd, wanted, sizeof wanted - 1, EAGAIN)
#define EXPECT_ERROR(fd, number) expect(__LINE__, fd, "", 0, number)

int main(int argc, char **argv) {
  st_init(argc, argv);
  signal(SIGHUP, SIG_IGN), signal(SIGTTOU, SIG_IGN);
  int cooked = open_master(), cooked_slave = open_slave(cooked);
  int packets = open_master(), packets_slave = open_slave(packets);
  make_raw(packets_slave);
  MUST(ioctl(packets, TIOCPKT, &(int){1}));
  MUST(ioctl(packets_slave, TIOCEXCL));
  int untouched = MUST(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  int left = open_master();
  int kept = MUST(dup(packets_slave));
  int closing = open_master(), hung = open_slave(closing);
  close(closing);
  int job = open_master(), job_slave = open_slave(job);
  if (MUST(fork()) == 0) {
    st_child("session");
    setsid();
    MUST(ioctl(job_slave, TIOCSCTTY, 0));
    int current = MUST(open("/dev/tty", O_RDWR | O_CLOEXEC));
    pid_t group = MUST(fork());
    if (group == 0)
      for (prctl(PR_SET_PDEATHSIG, SIGKILL);;) pause();
    MUST(setpgid(group, group));
    MUST(tcsetpgrp(job_slave, group));
    while (st_next()) {
      CHECK_EQ(tcgetsid(job_slave), getpid());
      CHECK_EQ(tcgetpgrp(job_slave), group);
      CHECK_EQ(tcgetpgrp(current), group);
    }
    kill(group, SIGKILL);
    _exit(0);
  }
  st_wait_child("session");
  for (;;) {
    int slave = open_slave(left), value = 0;
    make_raw(slave);
    put(slave, "left behind");
    close(slave);
    put(cooked, "one\ntwo\npart");
    put(packets, "raw\r\n\003");
    put(packets_slave, "to master");
    usleep(20000);
    if (!st_next()) break;
    EXPECT(cooked, "one\r\ntwo\r\npart");
    EXPECT(cooked_slave, "one\n");
    EXPECT(cooked_slave, "two\n");
    EXPECT_ERROR(cooked_slave, EAGAIN);
    put(cooked, "ial\n");
    usleep(20000);
    EXPECT(cooked_slave, "partial\n");
    EXPECT(cooked, "ial\r\n");
    EXPECT(packets, "\0to master");
    EXPECT(packets_slave, "raw\r\n\003");
    EXPECT(left, "left behind");
    EXPECT_ERROR(left, EIO);
    EXPECT_ERROR(untouched, EAGAIN);
    CHECK_EQ(fcntl(packets_slave, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(kept, F_GETFD), 0);
    CHECK(ioctl(untouched, TIOCGPTLCK, &value) == 0 && value == 1, "the terminal is not locked");
    CHECK(ioctl(packets_slave, TIOCGEXCL, &value) == 0 && value == 1, "the terminal is not exclusive");
    CHECK(ioctl(cooked_slave, TIOCGEXCL, &value) == 0 && value == 0, "the terminal is exclusive");
    CHECK(ioctl(hung, TIOCGEXCL, &value) < 0 && errno == EIO, "the terminal is not hung up");
  }
}

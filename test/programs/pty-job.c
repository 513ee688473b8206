/* A foreground job of a shell, with the shell's terminal as 0, 1, 2: it prints a line in each round. */
#include "selftest.h"
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv) {
  setenv("SELFTEST_FOREGROUND", "1", 1);
  st_init(argc, argv);
  pid_t session = getsid(0);
  struct stat terminal;
  MUST(fstat(0, &terminal));
  signal(SIGHUP, SIG_IGN);
  for (int round = 1; st_next(); round++) {
    struct winsize size = {0};
    struct stat now[3];
    for (int fd = 0; fd < 3; fd++) {
      CHECK(isatty(fd), "fd %d is no terminal", fd);
      CHECK(fstat(fd, &now[fd]) == 0 && now[fd].st_rdev == terminal.st_rdev, "fd %d is another terminal", fd);
    }
    CHECK_EQ(getsid(0), session);
    CHECK_EQ(tcgetsid(0), session);
    CHECK(ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_col == 99, "the window is %d wide", size.ws_col);
    int tty = open("/dev/tty", O_WRONLY);
    CHECK(tty >= 0, "there is no controlling terminal: %s", strerror(errno));
    dprintf(tty >= 0 ? tty : 1, "hello from round %d\n", round);
    close(tty);
  }
}

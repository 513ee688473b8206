/*
 * A session on a pseudo terminal whose master side is outside of the tree, as in a container: its slave, whose path is
 * the first argument, is the controlling terminal and 0, 1, 2. In each round it says hello on it.
 */
#include "selftest.h"
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv) {
  struct termios settings, now;
  struct winsize size = {.ws_row = 41, .ws_col = 97}, got;

  st_init(argc, argv);
  int slave = MUST(open(argv[2], O_RDWR));
  MUST(ioctl(slave, TIOCSCTTY, 0));
  for (int fd = 0; fd < 3; fd++) MUST(dup2(slave, fd));
  if (slave > 2) close(slave);
  MUST(tcgetattr(0, &settings));
  settings.c_lflag &= ~(ECHO | ICANON);
  settings.c_cc[VMIN] = 7;
  MUST(tcsetattr(0, TCSANOW, &settings));
  MUST(ioctl(0, TIOCSWINSZ, &size));
  while (st_next()) {
    CHECK_EQ(tcgetpgrp(0), getpgrp());
    CHECK_EQ(tcgetattr(0, &now), 0);
    CHECK_EQ(now.c_lflag, settings.c_lflag);
    CHECK_EQ(now.c_cc[VMIN], 7);
    CHECK_EQ(ioctl(1, TIOCGWINSZ, &got), 0);
    CHECK_EQ(got.ws_row, size.ws_row);
    CHECK_EQ(got.ws_col, size.ws_col);
    dprintf(1, "hello from round %d\n", st_round);
  }
}

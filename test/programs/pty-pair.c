/*
 * A pseudo terminal with both ends in the tree: settings, window size, data on the way, and a child that has it as its
 * controlling terminal.
 */
#include "selftest.h"
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;
static struct termios before;
static struct winsize size_before = {.ws_row = 33, .ws_col = 111, .ws_xpixel = 7, .ws_ypixel = 8};

static void check_settings(int fd, const char *who) {
  struct termios now;
  struct winsize size;
  CHECK(tcgetattr(fd, &now) == 0, "%s: tcgetattr: %s", who, strerror(errno));
  CHECK(now.c_iflag == before.c_iflag && now.c_oflag == before.c_oflag && now.c_cflag == before.c_cflag && now.c_lflag == before.c_lflag,
        "%s: the terminal's flags differ", who);
  CHECK(memcmp(now.c_cc, before.c_cc, sizeof now.c_cc) == 0, "%s: the terminal's characters differ", who);
  CHECK(ioctl(fd, TIOCGWINSZ, &size) == 0 && memcmp(&size, &size_before, sizeof size) == 0, "%s: the window is %dx%d", who, size.ws_row, size.ws_col);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
  MUST(tcgetattr(slave, &before));
  cfmakeraw(&before);
  before.c_lflag |= NOFLSH;
  before.c_cc[VINTR] = 5;
  before.c_cc[VTIME] = 3;
  MUST(tcsetattr(slave, TCSANOW, &before));
  MUST(tcgetattr(slave, &before));
  MUST(ioctl(slave, TIOCSWINSZ, &size_before));
  char *name = strdup(ptsname(master));
  if (MUST(fork()) == 0) {
    st_child("session");
    setsid();
    signal(SIGHUP, SIG_IGN);
    MUST(ioctl(slave, TIOCSCTTY, 0));
    close(master);
    while (st_next()) {
      CHECK_EQ(tcgetsid(slave), getpid());
      CHECK_EQ(tcgetpgrp(slave), getpgrp());
      int tty = open("/dev/tty", O_RDWR);
      CHECK(tty >= 0, "there is no controlling terminal: %s", strerror(errno));
      close(tty);
      check_settings(slave, "session");
    }
  }
  st_wait_child("session");
  for (int round = 0; st_next(); round++) {
    char text[16] = "";
    CHECK(strcmp(ptsname(master), name) == 0, "the terminal is %s, was %s", ptsname(master), name);
    check_settings(slave, "slave");
    check_settings(master, "master");
    CHECK_EQ(write(master, "to slave", 8), 8);
    CHECK(read(slave, text, 8) == 8 && memcmp(text, "to slave", 8) == 0, "the slave read %s", text);
    CHECK_EQ(write(slave, "answered", 8), 8);
    CHECK(read(master, text, 8) == 8 && memcmp(text, "answered", 8) == 0, "the master read %s", text);
  }
}

/* A pipe end that was opened again for reading and writing (through /proc/self/fd): the only end that is left. */
#include "selftest.h"
#include <poll.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  int ends[2];
  char path[64], text[16];
  MUST(pipe(ends));
  snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
  int both = MUST(open(path, O_RDWR));
  close(ends[0]), close(ends[1]);
  while (st_next()) {
    CHECK_EQ(fcntl(both, F_GETFL) & O_ACCMODE, O_RDWR);
    CHECK_EQ(poll(&(struct pollfd){.fd = both, .events = POLLIN}, 1, 20), 0);
    CHECK_EQ(write(both, "round trip", 10), 10);
    CHECK(read(both, text, sizeof text) == 10 && memcmp(text, "round trip", 10) == 0, "the bytes differ");
  }
}

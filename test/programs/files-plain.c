/* One open file, for tests that change it between dump and restore. */
#include "selftest.h"

int main(int argc, char **argv) {
  st_init(argc, argv);
  int fd = MUST(open("data-file", O_RDWR | O_CREAT | O_TRUNC, 0644));
  MUST(write(fd, "0123456789", 10));
  while (st_next()) CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
}

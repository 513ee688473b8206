/*
 * An open file whose name was deleted and given back by another hard link, as package managers do: the kernel calls the
 * name deleted, yet it leads to the very same file. No option is needed to find it.
 */
#include "selftest.h"

int main(int argc, char **argv) {
  st_init(argc, argv);
  int fd = MUST(open("linked", O_RDWR | O_CREAT | O_EXCL, 0600));
  MUST(write(fd, "some bytes", 10));
  MUST(link("linked", "linked-too"));
  MUST(unlink("linked"));
  MUST(rename("linked-too", "linked"));
  while (st_next()) {
    struct stat by_fd, by_name;
    CHECK(fstat(fd, &by_fd) == 0 && stat("linked", &by_name) == 0, "stat: %s", strerror(errno));
    CHECK(by_fd.st_ino == by_name.st_ino && by_fd.st_nlink == 1, "the descriptor shows another file, or one with %lu links", by_fd.st_nlink);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
  }
}

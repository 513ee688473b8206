/* A file whose name was deleted while another hard link is left: a dump needs --link-remap for it. */
#include "selftest.h"

int main(int argc, char **argv) {
  st_init(argc, argv);
  int fd = MUST(open("first-name", O_RDWR | O_CREAT | O_EXCL, 0600));
  MUST(write(fd, "some bytes", 10));
  MUST(mkdir("elsewhere", 0700));
  MUST(link("first-name", "elsewhere/second-name"));
  MUST(unlink("first-name"));
  while (st_next()) {
    struct stat by_fd, by_name;
    char text[16] = "";
    CHECK(fstat(fd, &by_fd) == 0 && stat("elsewhere/second-name", &by_name) == 0, "stat: %s", strerror(errno));
    CHECK(by_fd.st_ino == by_name.st_ino, "the descriptor shows another file than the link that was left");
    CHECK_EQ(by_fd.st_nlink, 1);
    CHECK(pread(fd, text, 10, 0) == 10 && strcmp(text, "some bytes") == 0, "the content is %s", text);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
    CHECK(access("first-name", F_OK) != 0, "the deleted name is back");
  }
}

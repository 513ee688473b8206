/*
 * Files that are deleted but open: their content, size, holes, mode, extended attributes, and that parent and child have
 * the same file. The
 * size in KiB is the argument: above 1 MiB a dump needs --ghost-limit.
 */
#include "selftest.h"

#include <sys/xattr.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  size_t bytes = (argc > 2 ? (size_t)atoi(argv[2]) : 64) * 1024;
  uint8_t *content = malloc(bytes), *now = malloc(bytes);
  st_fill(content, bytes, 1);
  int fd = MUST(open("deleted", O_RDWR | O_CREAT | O_EXCL, 0604));
  MUST(fchown(fd, 12, 34));
  if (write(fd, content, bytes) != (ssize_t)bytes) st_die(__FILE__, __LINE__, "write");
  int has_xattrs = fsetxattr(fd, "user.colour", "red\0blue", 8, 0) == 0;
  int other = MUST(open("deleted", O_RDONLY));
  MUST(unlink("deleted"));
  int sparse = MUST(open("sparse", O_RDWR | O_CREAT | O_EXCL, 0600));
  MUST(pwrite(sparse, content, 4096, 300000));
  MUST(ftruncate(sparse, 500000));
  MUST(unlink("sparse"));
  int empty = MUST(open("empty", O_RDWR | O_CREAT | O_EXCL, 0600));
  MUST(unlink("empty"));
  int unnamed = open(".", O_TMPFILE | O_RDWR, 0600);
  if (unnamed < 0) st_missing("O_TMPFILE: %s", strerror(errno));
  if (unnamed >= 0) MUST(write(unnamed, content, 5000));
  if (MUST(fork()) == 0) {
    st_child("child");
    for (uint64_t round = 1; st_next(); round++) {
      uint64_t word = 0;
      WAIT_FOR(pread(fd, &word, 8, 0) == 8 && word == round);
      pwrite(fd, &word, 8, 8);
    }
  }
  st_wait_child("child");
  for (uint64_t round = 1; st_next(); round++) {
    struct stat info, info_of_other;
    CHECK_EQ(fstat(fd, &info), 0);
    CHECK_EQ(fstat(other, &info_of_other), 0);
    CHECK_EQ(info.st_nlink, 0);
    CHECK(info.st_ino == info_of_other.st_ino, "two descriptors of one deleted file are two files now");
    CHECK_EQ(info.st_mode & 07777, 0604);
    CHECK(info.st_uid == 12 && info.st_gid == 34, "owner %u:%u", info.st_uid, info.st_gid);
    char colour[16] = "";
    if (has_xattrs) CHECK_EQ(fgetxattr(fd, "user.colour", colour, sizeof colour), 8);
    if (has_xattrs) CHECK(memcmp(colour, "red\0blue", 8) == 0, "the extended attribute is %s", colour);
    CHECK_EQ(pread(other, now, bytes, 0), (ssize_t)bytes);
    CHECK(memcmp(now + 16, content + 16, bytes - 16) == 0, "the content differs");
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), (off_t)bytes);
    CHECK(access("deleted", F_OK) != 0, "the deleted file has its name again");
    CHECK_EQ(fstat(sparse, &info), 0);
    CHECK_EQ(info.st_size, 500000);
    CHECK(info.st_blocks * 512 < 100000, "the sparse file takes %ld bytes on disk", info.st_blocks * 512L);
    CHECK_EQ(pread(sparse, now, 4096, 300000), 4096);
    CHECK(memcmp(now, content, 4096) == 0, "the sparse file differs");
    CHECK(fstat(empty, &info) == 0 && info.st_size == 0, "the empty file has %ld bytes", info.st_size);
    if (unnamed >= 0) {
      CHECK_EQ(pread(unnamed, now, 5000, 0), 5000);
      CHECK(memcmp(now, content, 5000) == 0, "the file that never had a name differs");
    }
    CHECK_EQ(pwrite(fd, &round, 8, 0), 8);
    uint64_t word = 0;
    WAIT_FOR(pread(other, &word, 8, 8) == 8 && word == round);
  }
}

/*
 * Files whose names are not what they were when they were opened: a deleted folder and a file in it, files with two names
 * that are both deleted, files in a folder that was moved (its old name is another one's now), a file that never had a
 * name and one that got one later, a deleted symbolic link; and devices, among them a block device if there is one.
 */
#include "selftest.h"

static int make(const char *path, const char *content) {
  int fd = MUST(open(path, O_RDWR | O_CREAT | O_EXCL, 0640));
  MUST(write(fd, content, strlen(content)));
  return fd;
}

static void check_content(const char *what, int fd, const char *wanted) {
  char text[64] = "";
  CHECK_EQ(pread(fd, text, sizeof text - 1, 0), (ssize_t)strlen(wanted));
  CHECK(strcmp(text, wanted) == 0, "%s has '%s' instead of '%s'", what, text, wanted);
}

static void check_same(const char *what, int one, int other) {
  struct stat a, b;
  CHECK(fstat(one, &a) == 0 && fstat(other, &b) == 0, "%s: fstat", what);
  CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "%s is two files now", what);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  MUST(mkdir("gone", 0710));
  int folder = MUST(open("gone", O_RDONLY | O_DIRECTORY));
  int inside = make("gone/inside", "in a deleted folder");
  MUST(unlink("gone/inside"));
  MUST(rmdir("gone"));

  int first = make("first", "two names");
  MUST(link("first", "second"));
  int second = MUST(open("second", O_RDONLY));
  MUST(unlink("first"));
  MUST(unlink("second"));

  MUST(mkdir("before", 0700));
  int moved = make("before/file", "moved");
  int moved_folder = MUST(open("before", O_RDONLY | O_DIRECTORY));
  MUST(rename("before", "after"));
  MUST(mkdir("before", 0700));
  int other = make("before/file", "not moved");

  int unnamed = open(".", O_TMPFILE | O_RDWR, 0600), named = open(".", O_TMPFILE | O_RDWR, 0600);
  char path[64];
  if (unnamed < 0 || named < 0) st_missing("O_TMPFILE: %s", strerror(errno));
  if (unnamed >= 0) MUST(write(unnamed, "never had a name", 16));
  if (named >= 0) {
    MUST(write(named, "got a name", 10));
    snprintf(path, sizeof path, "/proc/self/fd/%d", named);
    MUST(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  }

  MUST(symlink("to nowhere", "symlink"));
  int symbolic = MUST(open("symlink", O_PATH | O_NOFOLLOW));
  MUST(unlink("symlink"));

  int full = MUST(open("/dev/full", O_WRONLY)), random = MUST(open("/dev/urandom", O_RDONLY));
  int kmsg = open("/dev/kmsg", O_WRONLY);
  int control = open("/dev/loop-control", O_RDWR), block = -1;
  static const char *const blocks[] = {"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", "/dev/ram0"};
  for (int i = 0; i < 5 && block < 0; i++) block = open(blocks[i], O_RDONLY);
  if (block < 0) st_missing("there is no block device to be opened");
  if (kmsg < 0) st_missing("there is no /dev/kmsg to be opened");
  if (control < 0) st_missing("there is no /dev/loop-control to be opened");
  off_t position = block < 0 ? 0 : lseek(block, 4096, SEEK_SET); /* an empty device has no such place */
  if (position < 0) st_missing("the block device is empty: its position");

  while (st_next()) {
    struct stat info;
    CHECK_EQ(fstat(folder, &info), 0);
    CHECK(S_ISDIR(info.st_mode) && info.st_nlink == 0, "the deleted folder has mode %o and %ld names", info.st_mode, (long)info.st_nlink);
    CHECK_EQ(info.st_mode & 07777, 0710);
    check_content("the file in a deleted folder", inside, "in a deleted folder");
    check_content("the file that had two names", second, "two names");
    check_same("the file that had two names", first, second);
    check_content("the file in a moved folder", moved, "moved");
    int again = openat(moved_folder, "file", O_RDONLY);
    check_same("the file in a moved folder", moved, again);
    close(again);
    check_content("the file at its old place", other, "not moved");
    if (unnamed >= 0) check_content("the file without a name", unnamed, "never had a name");
    if (named >= 0) check_content("the file that got a name", named, "got a name");
    char target[32] = "";
    CHECK_EQ(readlinkat(symbolic, "", target, sizeof target - 1), 10);
    CHECK(strcmp(target, "to nowhere") == 0, "the symbolic link leads to '%s'", target);
    char byte = 0;
    CHECK_EQ(write(full, &byte, 1), -1);
    CHECK_EQ(errno, ENOSPC);
    CHECK_EQ(read(random, &byte, 1), 1);
    if (control >= 0) CHECK_EQ(fstat(control, &info), 0);
    if (kmsg >= 0) CHECK_EQ(fstat(kmsg, &info), 0);
    if (block >= 0 && position > 0) CHECK_EQ(lseek(block, 0, SEEK_CUR), position);
    CHECK(access("first", F_OK) != 0 && access("second", F_OK) != 0 && access("gone", F_OK) != 0 && access("symlink", F_OK) != 0,
          "a deleted file has its name again");
  }
}

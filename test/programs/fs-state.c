/* umask, working directory and root of several processes: a directory of its own, a deleted one, a chroot. */
#include "selftest.h"

static char cwd_before[PATH_MAX];
static mode_t wanted_umask;

static void check(void) {
  char cwd[PATH_MAX] = "(none)";
  CHECK(getcwd(cwd, sizeof cwd) != NULL || cwd_before[0] == 0, "getcwd: %s", strerror(errno));
  CHECK(cwd_before[0] == 0 || strcmp(cwd, cwd_before) == 0, "the working directory is %s, was %s", cwd, cwd_before);
  mode_t mask = umask(0);
  umask(mask);
  CHECK_EQ(mask, wanted_umask);
}

static void in_chroot(void) {
  char dir[PATH_MAX];
  if (getcwd(dir, sizeof dir) == NULL) st_die(__FILE__, __LINE__, "getcwd");
  if (chroot(dir) != 0) st_die(__FILE__, __LINE__, "chroot");
  /* The status files are in this folder, which is now "/". */
  snprintf(st_base, sizeof st_base, "/status");
  st_child("chroot");
  MUST(chdir("/inside"));
  snprintf(cwd_before, sizeof cwd_before, "/inside");
  while (st_next()) {
    check();
    CHECK_EQ(access("/status", F_OK), 0);
    CHECK(access("/proc/self", F_OK) != 0, "the root is the old one");
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  MUST(mkdir("inside", 0777));
  MUST(mkdir("working", 0777));
  if (MUST(fork()) == 0) {
    wanted_umask = 077;
    umask(077);
    st_child("own-folder");
    MUST(chdir("working"));
    getcwd(cwd_before, sizeof cwd_before);
    while (st_next()) {
      check();
      int fd = open("made-here", O_CREAT | O_RDWR, 0666);
      struct stat made, there;
      CHECK(fd >= 0 && fstat(fd, &made) == 0 && stat("made-here", &there) == 0, "can't create a file: %s", strerror(errno));
      CHECK_EQ(made.st_mode & 0777, 0600);
      close(fd), unlink("made-here");
    }
  }
  st_wait_child("own-folder");
  if (MUST(fork()) == 0) {
    umask(wanted_umask = 027);
    in_chroot();
  }
  st_wait_child("chroot");
  if (argc > 2) {
    if (MUST(fork()) == 0) {
      st_child("deleted-folder");
      MUST(mkdir("doomed", 0777));
      MUST(chdir("doomed"));
      MUST(rmdir("../doomed"));
      struct stat now;
      while (st_next()) {
        check();
        CHECK(stat(".", &now) == 0 && now.st_nlink == 0, "the deleted folder is there again (%lu links)", now.st_nlink);
      }
    }
    st_wait_child("deleted-folder");
  }
  getcwd(cwd_before, sizeof cwd_before);
  while (st_next()) check();
}

/* Mounts that are attached nowhere: a copy of the root, a new file system, and a file in that. */
#include "selftest.h"
#include <linux/mount.h>
#include <sys/syscall.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  int copy = (int)syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  int context = (int)syscall(SYS_fsopen, "tmpfs", 0);
  if (copy < 0 || context < 0) st_skip("open_tree, fsopen: %s", strerror(errno));
  MUST((int)syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  int made = MUST((int)syscall(SYS_fsmount, context, 0, 0));
  close(context);
  MUST(openat(made, "file", O_CREAT | O_RDWR, 0600));
  MUST(mkdirat(made, "folder", 0700)), MUST(openat(made, "folder", O_RDONLY | O_DIRECTORY));
  while (st_next()) {
    struct stat stat;
    MUST(fstat(copy, &stat)), MUST(fstat(made, &stat));
  }
}

/*
 * Files that were passed on (passed.h): with a name, deleted, with another name, without one, a deleted folder; /proc of a
 * task that lives and of one that has ended; devices; locks and a lease. Each is at a position that the last turn has set.
 */
#include "passed.h"
#include <sys/file.h>

static int make_file(const char *name, int flags) {
  int fd = MUST(open(path_of(name), O_RDWR | O_CREAT | O_EXCL, 0600));
  MUST(write(fd, name, strlen(name)));
  close(fd);
  return MUST(open(path_of(name), flags));
}

/* The next turn finds another position. */
static void use_position(const char *name, int turn) {
  CHECK(lseek(passed(name), 0, SEEK_CUR) == turn, "%s: its position is %ld, and not %d", name, (long)lseek(passed(name), 0, SEEK_CUR), turn);
  CHECK_EQ(lseek(passed(name), turn + 1, SEEK_SET), turn + 1);
}

/* Its content begins with its name, where each turn writes one letter more. */
static void use_file(const char *name, int turn) {
  char text[64] = "", wanted[64];
  int length = snprintf(wanted, sizeof wanted, "%s%.*s", name, turn, "abcdefghijk"), fd = passed(name);
  CHECK(pread(fd, text, sizeof text - 1, 0) == length && strcmp(text, wanted) == 0, "%s has \"%s\", and not \"%s\"", name, text, wanted);
  CHECK_EQ(pwrite(fd, &"abcdefghijk"[turn], 1, length), 1);
  use_position(name, turn);
}

static void make_files(void) {
  passed_add("named", make_file("named", O_RDWR));
  passed_add("deleted", make_file("deleted", O_RDWR)), MUST(unlink(path_of("deleted")));
  passed_add("linked", make_file("linked", O_RDWR));
  MUST(link(path_of("linked"), path_of("link"))), MUST(unlink(path_of("linked")));
}

static void use_files(int turn) {
  use_file("named", turn), use_file("deleted", turn), use_file("linked", turn);
  struct stat info, link;
  CHECK(fstat(passed("deleted"), &info) == 0 && info.st_nlink == 0, "the deleted file has %ld names", (long)info.st_nlink);
  CHECK(fstat(passed("linked"), &info) == 0 && stat(path_of("link"), &link) == 0 && info.st_ino == link.st_ino, "the link leads elsewhere");
  CHECK(access(path_of("linked"), F_OK) != 0, "a deleted name is there");
}

static void make_unnamed(void) {
  int fd = open(".", O_TMPFILE | O_RDWR, 0600);
  if (fd < 0) return st_missing("O_TMPFILE: %s", strerror(errno));
  MUST(write(fd, "unnamed", 7)), MUST(lseek(fd, 0, SEEK_SET));
  passed_add("unnamed", fd);
}

static void use_unnamed(int turn) { use_file("unnamed", turn); }

static void make_folder(void) {
  MUST(mkdir(path_of("folder"), 0710));
  passed_add("folder", MUST(open(path_of("folder"), O_RDONLY | O_DIRECTORY)));
  MUST(rmdir(path_of("folder")));
}

static void use_folder(int turn) {
  struct stat info;
  CHECK(fstat(passed("folder"), &info) == 0 && S_ISDIR(info.st_mode) && info.st_nlink == 0 && (info.st_mode & 0777) == 0710, "the deleted folder is another");
  CHECK(openat(passed("folder"), "new", O_CREAT | O_RDWR, 0600) == -1 && errno == ENOENT, "the deleted folder is not deleted");
  use_position("folder", turn);
}

static void make_proc(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/status", shared->root);
  passed_add("/proc of root", MUST(open(path, O_RDONLY)));
  snprintf(path, sizeof path, "/proc/%d/status", getpid());
  passed_add("/proc of the dead", MUST(open(path, O_RDONLY)));
}

static void use_proc(int turn) {
  char text[4096] = "", wanted[32];
  snprintf(wanted, sizeof wanted, "\nPid:\t%d\n", shared->root);
  CHECK(pread(passed("/proc of root"), text, sizeof text - 1, 0) > 0 && strstr(text, wanted) != NULL, "/proc is of another task");
  CHECK(pread(passed("/proc of the dead"), text, sizeof text - 1, 0) == -1 && errno == ESRCH, "/proc of the dead: %s", strerror(errno));
  use_position("/proc of root", turn);
}

static const char *own_device;

/* Whoever has it changes a flag of the description. */
static void use_flag(const char *name, int flag, int turn) {
  int fd = passed(name), flags = fcntl(fd, F_GETFL);
  CHECK_EQ(flags & flag, turn % 2 == 1 ? flag : 0);
  CHECK_EQ(fcntl(fd, F_SETFL, flags ^ flag), 0);
}

static void make_devices(void) {
  const char *const blocks[] = {own_device, "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", "/dev/ram0"};
  int block = -1, console = open("/dev/console", O_WRONLY | O_NOCTTY);
  passed_add("/dev/full", MUST(open("/dev/full", O_RDWR)));
  for (int i = 0; i < 6 && block < 0; i++) block = open(blocks[i], O_RDONLY);
  struct stat info;
  if (block >= 0 && fstat(block, &info) == 0 && S_ISBLK(info.st_mode)) passed_add("block device", block), shared->notes[set_number()][0] = (int64_t)info.st_rdev;
  else st_missing("block device: %s: %s", own_device, strerror(errno));
  if (console >= 0) passed_add("console", console);
  else st_missing("/dev/console: %s", strerror(errno));
}

static void use_devices(int turn) {
  char byte = 1;
  struct stat info;
  int block = passed_find("block device"), full = passed("/dev/full");
  CHECK(read(full, &byte, 1) == 1 && byte == 0 && write(full, &byte, 1) == -1 && errno == ENOSPC, "/dev/full: %s", strerror(errno));
  use_flag("/dev/full", O_APPEND, turn);
  if (block >= 0) {
    CHECK(fstat(block, &info) == 0 && S_ISBLK(info.st_mode) && (int64_t)info.st_rdev == shared->notes[set_number()][0], "the block device is another");
    use_flag("block device", O_NONBLOCK, turn);
    off_t at = lseek(block, 0, SEEK_CUR), end = lseek(block, 0, SEEK_END);
    CHECK_EQ(at, end == 0 ? 0 : 512 * turn); /* an empty device has no positions */
    if (end > 0) CHECK(lseek(block, 512 * (turn + 1), SEEK_SET) > 0 && pread(block, &byte, 1, 512) == 1, "block device: %s", strerror(errno));
  }
  if (passed_find("console") < 0) return;
  CHECK(fstat(passed("console"), &info) == 0 && S_ISCHR(info.st_mode) && info.st_rdev == 0x501, "the console is device %lx", (long)info.st_rdev);
  use_flag("console", O_NONBLOCK, turn);
}

static void make_locks(void) {
  passed_add("flock", make_file("flock", O_RDWR)), MUST(flock(passed("flock"), LOCK_EX));
  passed_add("OFD", make_file("OFD", O_RDWR));
  MUST(fcntl(passed("OFD"), F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_len = 1}));
}

/* A lock of a description is changed by whoever has it: from exclusive to shared and back, or to another place. */
static void use_locks(int turn) {
  int other = open(path_of("flock"), O_RDWR), is_exclusive = turn % 2 == 0;
  CHECK((flock(other, LOCK_SH | LOCK_NB) == 0) == !is_exclusive, "the flock is gone, or exclusive");
  CHECK(flock(other, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the flock is gone");
  close(other);
  CHECK_EQ(flock(passed("flock"), (is_exclusive ? LOCK_SH : LOCK_EX) | LOCK_NB), 0);
  other = open(path_of("OFD"), O_RDWR);
  struct flock lock = {.l_type = F_RDLCK};
  CHECK_EQ(fcntl(other, F_OFD_GETLK, &lock), 0);
  CHECK(lock.l_type == F_WRLCK && lock.l_start == turn && lock.l_len == 1, "the OFD lock is %d at %ld", lock.l_type, (long)lock.l_start);
  close(other);
  CHECK_EQ(fcntl(passed("OFD"), F_OFD_SETLK, &(struct flock){.l_type = F_UNLCK}), 0);
  CHECK_EQ(fcntl(passed("OFD"), F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_start = turn + 1, .l_len = 1}), 0);
}

static void make_lease(void) {
  int fd = make_file("lease", O_RDONLY);
  if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0) return st_missing("leases: %s", strerror(errno));
  MUST(fcntl(fd, F_SETOWN, shared->root)), MUST(fcntl(fd, F_SETSIG, SIGUSR1));
  passed_add("lease", fd);
}

/* Who opens the file to write is kept from it, and the owner gets the signal. */
static void use_lease(int turn) {
  int fd = passed("lease"), before = shared->signals;
  (void)turn;
  CHECK_EQ(fcntl(fd, F_GETLEASE), F_RDLCK);
  CHECK_EQ(fcntl(fd, F_GETOWN), shared->root);
  CHECK_EQ(fcntl(fd, F_GETSIG), SIGUSR1);
  CHECK(open(path_of("lease"), O_WRONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK, "the lease holds nobody");
  WAIT_FOR(shared->signals == before + 1);
  // The owner and the signal go with the lease.
  CHECK_EQ(fcntl(fd, F_SETLEASE, F_UNLCK), 0);
  CHECK_EQ(fcntl(fd, F_SETLEASE, F_RDLCK), 0);
  CHECK(fcntl(fd, F_SETOWN, shared->root) == 0 && fcntl(fd, F_SETSIG, SIGUSR1) == 0, "owner of the lease: %s", strerror(errno));
}

static const struct kind kinds[] = {
  {"files", make_files, use_files},       {"unnamed", make_unnamed, use_unnamed}, {"folder", make_folder, use_folder}, {"proc", make_proc, use_proc},
  {"devices", make_devices, use_devices}, {"locks", make_locks, use_locks},       {"lease", make_lease, use_lease},
};

int main(int argc, char **argv) {
  st_init(argc, argv);
  own_device = argc > 2 ? argv[2] : "/dev/vda";
  return passed_main(kinds, sizeof kinds / sizeof kinds[0]);
}

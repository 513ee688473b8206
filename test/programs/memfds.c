/*
 * memfds: several descriptions with flags and positions, holes, a size that is no multiple of a page, seals of each kind
 * with the mappings they allow, mode and owner, private maps, one without content, O_PATH; a task that runs from one.
 */
#include "selftest.h"
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif

static int reopen(int fd, int flags) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return MUST(open(path, flags));
}

static int make(const char *name, unsigned flags, size_t bytes, int seed) {
  int fd = MUST(memfd_create(name, flags));
  uint8_t *content = malloc(bytes + 1);
  st_fill(content, bytes, seed);
  CHECK_EQ(pwrite(fd, content, bytes, 0), (ssize_t)bytes);
  free(content);
  return fd;
}

static void check(int fd, size_t bytes, int seed) {
  uint8_t *content = malloc(bytes + 1);
  CHECK_EQ(pread(fd, content, bytes + 1, 0), (ssize_t)bytes);
  CHECK_FILL(content, bytes, seed);
  free(content);
}

int main(int argc, char **argv) {
  /* Runs from a memfd the second time. */
  if (getenv("FROM_MEMFD") == NULL) {
    int self = MUST(open("/proc/self/exe", O_RDONLY)), copy = MUST(memfd_create("program", MFD_CLOEXEC));
    char buffer[65536];
    for (ssize_t got; (got = MUST(read(self, buffer, sizeof buffer))) > 0;) CHECK_EQ(write(copy, buffer, got), got);
    setenv("FROM_MEMFD", "1", 1);
    syscall(SYS_execveat, copy, "", argv, environ, 0x1000);
    st_die(__FILE__, __LINE__, "execveat");
  }
  st_init(argc, argv);
  size_t odd = 3 * ST_PAGE + 123;
  int plain = make("plain", 0, odd, 1), reader = reopen(plain, O_RDONLY), appender = reopen(plain, O_WRONLY | O_APPEND);
  int path = reopen(plain, O_PATH);
  MUST(lseek(plain, 77, SEEK_SET));
  MUST(lseek(reader, 4000, SEEK_SET));
  MUST(fchmod(plain, 0640));
  MUST(fchown(plain, 12, 34));
  uint8_t *private_map = MUST_MAP(mmap(NULL, ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, plain, ST_PAGE));
  private_map[5] ^= 0xff;
  uint8_t changed = private_map[5];

  int sparse = MUST(memfd_create("sparse", MFD_CLOEXEC));
  MUST(ftruncate(sparse, 1 << 30));
  CHECK_EQ(pwrite(sparse, "here", 4, 700 << 20), 4);
  int empty = MUST(memfd_create("", 0));

  int sealed = make("sealed", MFD_ALLOW_SEALING, ST_PAGE, 2);
  MUST(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
  uint8_t *sealed_map = MUST_MAP(mmap(NULL, ST_PAGE, PROT_READ, MAP_SHARED, reopen(sealed, O_RDONLY), 0));
  int future = make("future", MFD_ALLOW_SEALING, ST_PAGE, 3);
  uint8_t *future_map = MUST_MAP(mmap(NULL, ST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0));
  int has_future = fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0;
  int open_for_seals = make("open", MFD_ALLOW_SEALING, 10, 4);
  int no_exec = memfd_create("no exec", MFD_NOEXEC_SEAL);
  if (no_exec < 0) st_missing("MFD_NOEXEC_SEAL: %s", strerror(errno));
  int seals = no_exec < 0 ? 0 : fcntl(no_exec, F_GET_SEALS);

  while (st_next()) {
    check(reader, odd, 1);
    CHECK_EQ(lseek(plain, 0, SEEK_CUR), 77);
    CHECK_EQ(lseek(reader, 0, SEEK_CUR), 4000);
    CHECK_EQ(fcntl(reader, F_GETFL) & O_ACCMODE, O_RDONLY);
    CHECK_EQ(fcntl(appender, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    CHECK((fcntl(path, F_GETFL) & O_PATH) != 0, "O_PATH was lost");
    struct stat stat, other;
    CHECK_EQ(fstat(plain, &stat), 0);
    CHECK_EQ(fstat(reader, &other), 0);
    CHECK(stat.st_ino == other.st_ino, "two descriptions are no longer of one memfd");
    CHECK(stat.st_mode == (S_IFREG | 0640) && stat.st_uid == 12 && stat.st_gid == 34, "mode or owner differ");
    CHECK_EQ(private_map[5], changed);
    char here[5] = "";
    CHECK_EQ(pread(sparse, here, 4, 700 << 20), 4);
    CHECK(strcmp(here, "here") == 0, "the sparse memfd has lost its content");
    CHECK_EQ(fstat(sparse, &stat), 0);
    CHECK(stat.st_size == 1 << 30 && stat.st_blocks < 1024, "the sparse memfd has %ld blocks", (long)stat.st_blocks);
    CHECK_EQ(fstat(empty, &stat), 0);
    CHECK_EQ(stat.st_size, 0);
    check(sealed, ST_PAGE, 2);
    CHECK_EQ(fcntl(sealed, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    CHECK(pwrite(sealed, "x", 1, 0) == -1 && errno == EPERM, "a sealed memfd was written to");
    CHECK_FILL(sealed_map, ST_PAGE, 2);
    CHECK_FILL(future_map, ST_PAGE, 3);
    future_map[0] = future_map[0];
    if (has_future) CHECK_EQ(fcntl(future, F_GET_SEALS), F_SEAL_FUTURE_WRITE);
    check(open_for_seals, 10, 4);
    CHECK_EQ(fcntl(open_for_seals, F_GET_SEALS), 0);
    if (no_exec >= 0) CHECK_EQ(fcntl(no_exec, F_GET_SEALS), seals);
  }
}

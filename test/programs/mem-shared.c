/*
 * Memory that parent and child share: MAP_SHARED anonymous memory, a private map of /dev/zero, a shared one, SysV
 * shared memory, POSIX shared memory, memfd. Afterwards a write of one must reach the other. The kind is the argument.
 */
/* flags: -lrt */
#include "selftest.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#define BYTES (32 * ST_PAGE)

static int segment = -1;

static void *map_fd(int fd) {
  void *map = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  close(fd);
  return map;
}

static void *make_shared(const char *kind) {
  if (strcmp(kind, "anon") == 0)
    return MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (strcmp(kind, "dev-zero") == 0) return map_fd(MUST(open("/dev/zero", O_RDWR)));
  if (strcmp(kind, "sysv") == 0) {
    MUST(unshare(CLONE_NEWIPC)); /* a segment of the host can't be made again with its id: it belongs to a namespace */
    segment = MUST(shmget(IPC_PRIVATE, BYTES, 0600 | IPC_CREAT));
    void *map = MUST_MAP(shmat(segment, NULL, 0));
    shmctl(segment, IPC_RMID, NULL);
    return map;
  }
  if (strcmp(kind, "posix") == 0) {
    char name[64];
    snprintf(name, sizeof name, "/criu-test-%d", getpid());
    int fd = MUST(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    MUST(ftruncate(fd, BYTES));
    shm_unlink(name);
    return map_fd(fd);
  }
  if (strcmp(kind, "memfd") == 0) {
    int fd = MUST(memfd_create("criu-test", 0));
    MUST(ftruncate(fd, BYTES));
    return map_fd(fd);
  }
  errno = EINVAL;
  st_die(__FILE__, __LINE__, kind);
  return NULL;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *shared = make_shared(argc > 2 ? argv[2] : "anon");
  st_fill(shared + 2 * ST_PAGE, 10 * ST_PAGE, 1);
  volatile uint64_t *from_parent = (uint64_t *)shared, *from_child = from_parent + 1;
  *from_parent = *from_child = 0;
  pid_t child = MUST(fork());
  if (child == 0) {
    st_child("child");
    for (uint64_t round = 1; st_next(); round++) {
      CHECK_FILL(shared + 2 * ST_PAGE, 9 * ST_PAGE, round);
      WAIT_FOR(*from_parent == round);
      *from_child = round;
    }
  }
  st_wait_child("child");
  for (uint64_t round = 1; st_next(); round++) {
    CHECK_FILL(shared + 2 * ST_PAGE, 10 * ST_PAGE, round);
    CHECK_ZERO(shared + 20 * ST_PAGE, 10 * ST_PAGE);
    *from_parent = round;
    WAIT_FOR(*from_child == round);
    st_fill(shared + 2 * ST_PAGE, 10 * ST_PAGE, round + 1);
  }
}

/* Hundreds of descriptors, or more: files with positions and flags, twice or locked, with an owner, deleted, of /proc,
 * directories, FIFOs, pipes, sockets. */
#include "selftest.h"
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { FILES_MAX = 2000, LOCKED = 5, OWNED = 8 };
static int files[FILES_MAX];

static const long FAR = 0x70000000000;

static long position(int i, int round) { return (i % 7 == 0 ? 0x100000000L : 0) + 13L * i + round; }

int main(int argc, char **argv) {
  st_init(argc, argv);
  int count = argc > 2 ? atoi(argv[2]) : 160;
  setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
  char name[32];
  for (int i = 0; i < count; i++) {
    snprintf(name, sizeof name, "file-%d", i % 20);
    files[i] = MUST(open(name, O_RDWR | O_CREAT | (i % 3 ? 0 : O_CLOEXEC) | (i % 5 ? 0 : O_NONBLOCK), 0600));
    MUST(lseek(files[i], position(i, 0), SEEK_SET));
  }
  MUST(flock(files[LOCKED], LOCK_EX));
  MUST(fcntl(files[OWNED], F_SETOWN, getpid()));
  MUST(fcntl(files[OWNED], F_SETSIG, SIGUSR1));
  int twin = MUST(fcntl(files[1], F_DUPFD_CLOEXEC, count + 100));
  int deleted = MUST(open("deleted", O_RDWR | O_CREAT, 0640)), memory = MUST(memfd_create("many", 0));
  CHECK(write(deleted, "gone", 4) == 4 && write(memory, "memory", 6) == 6, "no content");
  MUST(unlink("deleted"));
  int last = MUST(open("file-0", O_RDONLY));
  MUST(lseek(last, FAR, SEEK_SET));
  int proc = MUST(open("/proc/self/maps", O_RDONLY)), folder = MUST(open(".", O_RDONLY | O_DIRECTORY));
  int path = MUST(open("file-1", O_PATH)), null = MUST(open("/dev/null", O_WRONLY | O_CLOEXEC));
  MUST(mkfifo("fifo", 0600));
  int fifo = MUST(open("fifo", O_RDWR)), ends[2], pair[2];
  MUST(pipe2(ends, O_CLOEXEC));
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  char line[8];
  MUST(read(proc, line, sizeof line));
  for (int round = 0; st_next(); round++) {
    CHECK_EQ(fcntl(files[OWNED], F_GETOWN), getpid());
    CHECK_EQ(fcntl(files[OWNED], F_GETSIG), SIGUSR1);
    CHECK_EQ(fcntl(files[OWNED + 1], F_GETOWN), 0);
    CHECK(pread(deleted, line, 5, 0) == 4 && !memcmp(line, "gone", 4), "the deleted file is another");
    CHECK(pread(memory, line, 8, 0) == 6 && !memcmp(line, "memory", 6), "the memfd is another");
    CHECK_EQ(lseek(memory, 0, SEEK_CUR), 6);
    for (int i = 0; i < count; i++) {
      CHECK_EQ(lseek(files[i], 1, SEEK_CUR), position(i, round) + 1);
      CHECK_EQ(fcntl(files[i], F_GETFD), i % 3 ? 0 : FD_CLOEXEC);
      CHECK_EQ(fcntl(files[i], F_GETFL) & O_NONBLOCK, i % 5 ? 0 : O_NONBLOCK);
    }
    CHECK_EQ(lseek(twin, 0, SEEK_CUR), position(1, round) + 1);
    CHECK_EQ(fcntl(twin, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(lseek(last, 0, SEEK_CUR), FAR);
    int other = MUST(open("file-5", O_RDWR));
    CHECK(flock(other, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the flock is gone");
    close(other);
    CHECK_EQ(lseek(proc, 0, SEEK_CUR), (long)sizeof line);
    CHECK(fcntl(path, F_GETFL) & O_PATH, "O_PATH is gone");
    CHECK_EQ(fcntl(folder, F_GETFD), 0);
    CHECK_EQ(fcntl(null, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(fifo, F_GETFD), 0);
    CHECK(write(fifo, "f", 1) == 1 && read(fifo, line, 1) == 1, "the FIFO is broken");
    CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
    CHECK(write(ends[1], "p", 1) == 1 && read(ends[0], line, 1) == 1 && *line == 'p', "the pipe is broken");
    CHECK(write(pair[1], "s", 1) == 1 && read(pair[0], line, 1) == 1 && *line == 's', "the sockets are broken");
    line[0] = 0;
  }
}

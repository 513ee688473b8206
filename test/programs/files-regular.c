/*
 * Open files with position, flags and mode: read only, write only, both, O_APPEND, O_PATH, O_NOATIME, O_DSYNC,
 * directories with a position, close-on-exec, device files, high descriptor numbers, a file that was renamed or has hard links.
 */
#include "selftest.h"
#include <dirent.h>
#include <sys/resource.h>

static int make(const char *name, uint64_t seed) {
  static uint8_t buffer[2 * ST_PAGE] __attribute__((aligned(8)));
  int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0640));
  st_fill(buffer, sizeof buffer, seed);
  if (write(fd, buffer, sizeof buffer) != sizeof buffer) st_die(__FILE__, __LINE__, name);
  return fd;
}

static int open_at(const char *name, int flags, off_t position) {
  int fd = MUST(open(name, flags));
  if (!(flags & O_PATH)) MUST(lseek(fd, position, SEEK_SET));
  return fd;
}

static void check_place(int fd, off_t position, int flags, int close_on_exec) {
  CHECK(lseek(fd, 0, SEEK_CUR) == position, "fd %d: position %ld, wanted %ld", fd, lseek(fd, 0, SEEK_CUR), position);
  CHECK((fcntl(fd, F_GETFL) & ~0100000) == flags, "fd %d: flags %o, wanted %o", fd, fcntl(fd, F_GETFL), flags);
  CHECK(fcntl(fd, F_GETFD) == close_on_exec, "fd %d: close-on-exec %d, wanted %d", fd, fcntl(fd, F_GETFD), close_on_exec);
}

static uint64_t word_at(const char *name, off_t position) {
  uint64_t word = 0;
  int fd = open(name, O_RDONLY);
  CHECK_EQ(pread(fd, &word, 8, position), 8);
  close(fd);
  return word;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int both = make("both", 1);
  MUST(lseek(both, 100, SEEK_SET));
  close(make("log", 2)), close(make("input", 3)), close(make("hidden", 4)), close(make("renamed-from", 5)), close(make("linked", 6));
  int append = open_at("log", O_WRONLY | O_APPEND | O_CLOEXEC, 0);
  off_t log_end = lseek(append, 0, SEEK_END);
  int input = open_at("input", O_RDONLY | O_NONBLOCK, 4096 + 16);
  int path = open_at("hidden", O_PATH, 0);
  int synced = open_at("input", O_RDWR | O_DSYNC | O_NOATIME, 7);
  int renamed = open_at("renamed-from", O_RDWR, 8);
  MUST(rename("renamed-from", "renamed-to"));
  MUST(link("linked", "linked-too"));
  int linked = open_at("linked", O_RDONLY, 24);
  MUST(unlink("linked-too"));
  MUST(mkdir("folder", 0755));
  for (int i = 0; i < 100; i++) {
    char name[64];
    snprintf(name, sizeof name, "folder/entry-with-a-long-name-%d", i);
    close(MUST(open(name, O_CREAT | O_RDWR, 0600)));
  }
  DIR *directory = opendir("folder");
  for (int i = 0; i < 40; i++) readdir(directory);
  int folder = MUST(open("folder", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int null = MUST(open("/dev/null", O_WRONLY)), zero = MUST(open("/dev/zero", O_RDONLY)), random = MUST(open("/dev/urandom", O_RDONLY));
  int full = MUST(open("/dev/full", O_RDWR));
  int proc = MUST(open("/proc/sys/kernel/ostype", O_RDONLY));
  setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
  int high = MUST(fcntl(both, F_DUPFD_CLOEXEC, 3333));
  uint64_t input_word = word_at("input", 4096 + 16);

  int seen_entries = 42;
  for (off_t round = 0; st_next(); round++) {
    check_place(both, 100 + round * 8, O_RDWR, 0);
    check_place(high, 100 + round * 8, O_RDWR, FD_CLOEXEC);
    uint64_t word = 0x1122334455667788ULL + (uint64_t)round;
    CHECK_EQ(write(both, &word, 8), 8);
    CHECK_EQ(lseek(high, 0, SEEK_CUR), 108 + round * 8);
    CHECK_EQ(word_at("both", 100 + round * 8), word);
    CHECK(fcntl(append, F_GETFD) == FD_CLOEXEC && fcntl(append, F_GETFL) & O_APPEND, "the log lost its flags");
    CHECK_EQ(write(append, &word, 8), 8);
    CHECK_EQ(word_at("log", log_end + round * 8), word);
    check_place(input, 4096 + 16, O_RDONLY | O_NONBLOCK, 0);
    CHECK_EQ(read(input, &word, 8), 8);
    CHECK_EQ(word, input_word);
    lseek(input, -8, SEEK_CUR);
    CHECK(read(path, &word, 8) == -1 && errno == EBADF, "a path descriptor can be read");
    CHECK_EQ(fcntl(path, F_GETFL) & O_PATH, O_PATH);
    struct stat by_path, by_name;
    CHECK(fstat(path, &by_path) == 0 && stat("hidden", &by_name) == 0 && by_path.st_ino == by_name.st_ino, "O_PATH shows another file");
    check_place(synced, 7, O_RDWR | O_DSYNC | O_NOATIME, 0);
    check_place(renamed, 8, O_RDWR, 0);
    CHECK(fstat(renamed, &by_path) == 0 && stat("renamed-to", &by_name) == 0 && by_path.st_ino == by_name.st_ino, "the renamed file is another");
    check_place(linked, 24, O_RDONLY, 0);
    if (round == 0) {
      while (readdir(directory)) seen_entries++;
      CHECK(seen_entries >= 100 && seen_entries <= 106, "%d entries were read in all, wanted about 102", seen_entries);
    }
    CHECK_EQ(fcntl(folder, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(faccessat(folder, "entry-with-a-long-name-7", F_OK, 0), 0);
    CHECK_EQ(write(null, &word, 8), 8);
    CHECK(read(zero, &word, 8) == 8 && word == 0, "/dev/zero gave %lx", word);
    CHECK_EQ(read(random, &word, 8), 8);
    CHECK(write(full, &word, 8) == -1 && errno == ENOSPC, "/dev/full takes bytes");
    char text[8] = "";
    CHECK(pread(proc, text, 5, 0) == 5 && memcmp(text, "Linux", 5) == 0, "the file in /proc has %s", text);
  }
}

/*
 * Programs of 64 and of 32 bits in one tree: the program executes the other build of itself, whose path is the argument, in
 * a child, and that executes this one in a child of its own; and each has a child that is its copy. All of them count in
 * memory of their own, in a file that they share, and answer to a signal.
 */
#include "selftest.h"

static volatile uint64_t count;
static volatile sig_atomic_t handled;

static void on_usr1(int signal) { handled = signal; }

static void run(const char *name, int fd) {
  uint64_t before = 0;
  if (name) {
    st_child(name);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  struct sigaction action = {.sa_handler = on_usr1};
  sigaction(SIGUSR1, &action, NULL);
  for (uint64_t round = 0; st_next(); round++) {
    CHECK_EQ(count++, round);
    handled = 0;
    raise(SIGUSR1);
    CHECK_EQ(handled, SIGUSR1);
    CHECK_EQ(pread(fd, &before, sizeof before, 0), sizeof before);
    CHECK_EQ(before, 0x1234567890ULL);
  }
}

static void become(const char *program, const char *status, const char *other, const char *name, int fd) {
  char number[16];
  snprintf(number, sizeof number, "%d", fd);
  execl(program, program, status, other, name, number, NULL);
  _exit(95);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *status = argv[1], *other = argv[2];
  if (argc > 4) {
    snprintf(st_base, sizeof st_base, "%s", status);
    int fd = atoi(argv[4]);
    int depth = atoi(argv[3] + strlen(argv[3]) - 1);
    char name[32];
    if (fork() == 0) {
      snprintf(name, sizeof name, "copy-%d", depth);
      run(name, fd);
    }
    snprintf(name, sizeof name, "depth-%d", depth + 1);
    if (depth < 2 && fork() == 0) become(other, status, argv[0], name, fd);
    run(argv[3], fd);
  }
  st_init(argc, argv);
  char path[PATH_MAX + 8];
  snprintf(path, sizeof path, "%s.file", status);
  int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  uint64_t content = 0x1234567890ULL;
  MUST(write(fd, &content, sizeof content));
  unlink(path);
  if (MUST(fork()) == 0) become(other, status, argv[0], "depth-1", fd);
  if (MUST(fork()) == 0) run("copy-0", fd);
  const char *names[] = {"depth-1", "depth-2", "copy-0", "copy-1", "copy-2"};
  for (int i = 0; i < 5; i++) st_wait_child(names[i]);
  run(NULL, fd);
}

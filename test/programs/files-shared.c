/*
 * Which descriptors are one open file description: dup'ed in one process, inherited by a child, opened twice (two of
 * them), and a whole table shared by two processes (CLONE_FILES). Shared means: a seek of one moves the other.
 */
#include "selftest.h"

static char child_stack[65536] __attribute__((aligned(16)));
static int opened, dupped, inherited, again, extra = -1;
static const char *report;

static off_t at(int fd) { return lseek(fd, 0, SEEK_CUR); }

static int with_shared_table(void *unused) {
  (void)unused;
  st_child(report);
  for (int round = 1; st_next(); round++) {
    WAIT_FOR(access("new-descriptor", F_OK) == 0);
    FILE *file = fopen("new-descriptor", "r");
    int fd = -1;
    CHECK(file && fscanf(file, "%d", &fd) == 1, "no number in the file");
    if (file) fclose(file);
    CHECK(fcntl(fd, F_GETFD) >= 0, "fd %d, opened by the other process, is not there: the table is no longer shared", fd);
    WAIT_FOR(access("new-descriptor", F_OK) != 0);
  }
  return 0;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  opened = MUST(open("file", O_RDWR | O_CREAT, 0600));
  MUST(ftruncate(opened, 100000));
  dupped = MUST(dup(opened));
  again = MUST(open("file", O_RDWR));
  inherited = MUST(fcntl(opened, F_DUPFD, 50));
  MUST(lseek(again, 5, SEEK_SET));
  if (MUST(fork()) == 0) {
    st_child("forked");
    close(dupped);
    close(opened);
    for (off_t round = 1; st_next(); round++) {
      WAIT_FOR(at(inherited) == round * 1000 + 1);
      lseek(inherited, round * 1000 + 2, SEEK_SET);
      CHECK(fcntl(dupped, F_GETFD) == -1, "a descriptor that was closed is open");
    }
  }
  st_wait_child("forked");
  report = "same-table";
  MUST(clone(with_shared_table, child_stack + sizeof child_stack, CLONE_FILES | SIGCHLD, NULL));
  st_wait_child("same-table");
  MUST(lseek(opened, 1, SEEK_SET));
  for (off_t round = 1; st_next(); round++) {
    CHECK(at(opened) == at(dupped) && at(dupped) == at(inherited), "positions %ld, %ld, %ld of one description", at(opened), at(dupped), at(inherited));
    lseek(dupped, round * 1000 + 1, SEEK_SET);
    WAIT_FOR(at(opened) == round * 1000 + 2);
    CHECK_EQ(at(again), 5);
    if (extra >= 0) close(extra);
    extra = open("file", O_RDONLY);
    char text[16];
    snprintf(text, sizeof text, "%d\n", extra);
    int note = open("new-descriptor.tmp", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK_EQ(write(note, text, strlen(text)), (ssize_t)strlen(text));
    close(note);
    rename("new-descriptor.tmp", "new-descriptor");
    usleep(100000);
    unlink("new-descriptor");
  }
}

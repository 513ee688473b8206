/* Maps of files that are deleted: a private one with changed pages and a shared one that two processes write to. */
#include "selftest.h"

#define BYTES (8 * ST_PAGE)

static uint8_t *map_deleted(const char *name, int flags, uint64_t seed) {
  int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
  MUST(ftruncate(fd, BYTES));
  uint8_t *filler = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  st_fill(filler, BYTES, seed);
  munmap(filler, BYTES);
  uint8_t *map = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, flags, fd, 0));
  close(fd);
  unlink(name);
  return map;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *private = map_deleted("deleted-private", MAP_PRIVATE, 1);
  uint8_t *shared = map_deleted("deleted-shared", MAP_SHARED, 2);
  st_fill(private + ST_PAGE, ST_PAGE, 11);
  st_fill(shared + ST_PAGE, ST_PAGE, 22);
  pid_t child = MUST(fork());
  if (child == 0) {
    st_child("child");
    for (uint64_t round = 1; st_next(); round++) {
      WAIT_FOR(*(volatile uint64_t *)shared == round);
      ((volatile uint64_t *)shared)[1] = round;
    }
  }
  st_wait_child("child");
  for (uint64_t round = 1; st_next(); round++) {
    CHECK_FILL(private + ST_PAGE, ST_PAGE, 11);
    CHECK_FILL(shared + ST_PAGE, ST_PAGE, 22);
    *(volatile uint64_t *)shared = round;
    WAIT_FOR(((volatile uint64_t *)shared)[1] == round);
  }
}

/* Sealed mappings (mseal, Linux 6.10): anonymous memory, a part of a map of a file; the content is right and they stay sealed. */
#include "selftest.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#define BYTES (4 * ST_PAGE)

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *memory = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  st_fill(memory, BYTES, 1);
  MUST(mprotect(memory, ST_PAGE, PROT_READ));
  int fd = MUST(open("file", O_RDWR | O_CREAT, 0600));
  MUST(ftruncate(fd, BYTES));
  uint8_t *file = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  if (syscall(SYS_mseal, memory, BYTES, 0) != 0) st_skip("mseal: %s", strerror(errno));
  MUST(syscall(SYS_mseal, file + ST_PAGE, ST_PAGE, 0));
  pid_t child = MUST(fork());
  if (child == 0) {
    st_child("child");
    while (st_next()) {
      CHECK_FILL(memory, BYTES, 1);
      CHECK_EQ(munmap(memory, BYTES), -1);
    }
  }
  st_wait_child("child");
  while (st_next()) {
    CHECK_FILL(memory, BYTES, 1);
    CHECK(mprotect(memory, BYTES, PROT_NONE) == -1 && errno == EPERM, "a sealed mapping got another protection");
    CHECK(munmap(memory, BYTES) == -1 && errno == EPERM, "a sealed mapping was removed");
    CHECK(munmap(file + ST_PAGE, ST_PAGE) == -1 && errno == EPERM, "a sealed part was removed");
    CHECK_EQ(mprotect(file, ST_PAGE, PROT_READ), 0);
    CHECK_EQ(mprotect(file, ST_PAGE, PROT_READ | PROT_WRITE), 0);
  }
}

/* Guard pages (MADV_GUARD_INSTALL, Linux 6.13): touching one must still be a SIGSEGV, its neighbours must have their content. */
#include "selftest.h"
#include <setjmp.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#define PAGES 16

static sigjmp_buf back;
static void on_segv(int signal) { siglongjmp(back, signal); }

static int faults(volatile uint8_t *at) {
  if (sigsetjmp(back, 1) != 0) return 1;
  (void)*at;
  return 0;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct sigaction action = {.sa_handler = on_segv};
  MUST(sigaction(SIGSEGV, &action, NULL));
  uint8_t *area = MUST_MAP(mmap(NULL, (PAGES + 2) * ST_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  uint8_t *memory = area + ST_PAGE; /* neighbours without access keep it from being merged */
  MUST(mprotect(memory, PAGES * ST_PAGE, PROT_READ | PROT_WRITE));
  for (int i = 0; i < PAGES; i++) st_fill(memory + i * ST_PAGE, ST_PAGE, i);
  if (madvise(memory, ST_PAGE, MADV_GUARD_INSTALL) != 0) st_skip("MADV_GUARD_INSTALL: %s", strerror(errno));
  MUST(madvise(memory + 5 * ST_PAGE, 2 * ST_PAGE, MADV_GUARD_INSTALL));
  MUST(madvise(memory + 15 * ST_PAGE, ST_PAGE, MADV_GUARD_INSTALL));
  while (st_next()) {
    for (int i = 0; i < PAGES; i++) {
      int is_guard = i == 0 || i == 5 || i == 6 || i == 15;
      CHECK(faults(memory + i * ST_PAGE) == is_guard, "page %d: %s", i, is_guard ? "the guard is gone" : "can't be read");
      if (!is_guard) CHECK_FILL(memory + i * ST_PAGE, ST_PAGE, i);
    }
    CHECK_EQ(madvise(memory + 5 * ST_PAGE, ST_PAGE, MADV_GUARD_REMOVE), 0);
    CHECK_ZERO(memory + 5 * ST_PAGE, ST_PAGE);
    CHECK_EQ(madvise(memory + 5 * ST_PAGE, ST_PAGE, MADV_GUARD_INSTALL), 0);
  }
}

/* Transparent huge pages: the content of 16 MiB that was asked to be huge, a part of it split, a part given back. */
#include "selftest.h"

#define HUGE_BYTES (2UL << 20)
#define BYTES (8 * HUGE_BYTES)

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *raw = MUST_MAP(mmap(NULL, BYTES + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  uint8_t *memory = (uint8_t *)(((uintptr_t)raw + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
  if (madvise(memory, BYTES, MADV_HUGEPAGE) != 0) st_skip("MADV_HUGEPAGE: %s", strerror(errno));
  for (int i = 0; i < 8; i++) st_fill(memory + i * HUGE_BYTES, HUGE_BYTES, i);
  MUST(madvise(memory + 3 * HUGE_BYTES + 7 * ST_PAGE, 5 * ST_PAGE, MADV_DONTNEED));
  MUST(mprotect(memory + 5 * HUGE_BYTES + ST_PAGE, ST_PAGE, PROT_READ));
  while (st_next()) {
    for (int i = 0; i < 8; i++) {
      uint8_t *part = memory + i * HUGE_BYTES;
      if (i != 3) {
        CHECK_FILL(part, HUGE_BYTES, i);
        continue;
      }
      CHECK_FILL(part, 7 * ST_PAGE, i);
      CHECK_ZERO(part + 7 * ST_PAGE, 5 * ST_PAGE);
      CHECK(part[12 * ST_PAGE] != 0 || part[12 * ST_PAGE + 1] != 0, "the page after the hole is empty");
    }
  }
}

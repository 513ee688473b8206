/* Two MiB pages from the hugetlb pool, private and shared with a child. Skips where the pool is empty. */
#include "selftest.h"

#define HUGE_BYTES (2UL << 20)

static uint8_t *map_huge(int flags) {
  void *map = mmap(NULL, HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_HUGETLB | flags, -1, 0);
  if (map == MAP_FAILED) st_skip("no huge pages in the pool: %s", strerror(errno));
  return map;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *private = map_huge(MAP_PRIVATE), *shared = map_huge(MAP_SHARED);
  st_fill(private, HUGE_BYTES, 1);
  st_fill(shared + ST_PAGE, HUGE_BYTES - ST_PAGE, 2);
  if (MUST(fork()) == 0) {
    st_child("child");
    for (uint64_t round = 1; st_next(); round++) {
      CHECK_FILL(private, HUGE_BYTES, 1);
      WAIT_FOR(*(volatile uint64_t *)shared == round);
    }
  }
  st_wait_child("child");
  for (uint64_t round = 1; st_next(); round++) {
    CHECK_FILL(private, HUGE_BYTES, 1);
    CHECK_FILL(shared + ST_PAGE, HUGE_BYTES - ST_PAGE, 2);
    *(volatile uint64_t *)shared = round;
  }
}

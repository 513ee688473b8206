/* Stacks that grow down: the main one, used deeply, and a mapping with MAP_GROWSDOWN; both must still grow afterwards. */
#include "selftest.h"

static uint64_t __attribute__((noinline)) dig(int depth, uint64_t seed) {
  volatile uint64_t local[512];
  for (int i = 0; i < 512; i++) local[i] = seed + (uint64_t)i;
  uint64_t below = depth > 0 ? dig(depth - 1, seed + 1) : 0;
  for (int i = 0; i < 512; i++)
    if (local[i] != seed + (uint64_t)i) return 1000000;
  return below + 1;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *area = MUST_MAP(mmap(NULL, 512 * ST_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(area, 512 * ST_PAGE);
  uint8_t *growing = MUST_MAP(mmap(area + 500 * ST_PAGE, ST_PAGE * 2, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0));
  st_fill(growing, 2 * ST_PAGE, 1);
  uint8_t *lowest = growing;
  for (int i = 0; i < 5; i++) st_fill(lowest -= ST_PAGE, ST_PAGE, 10 + i);
  int depth = 50, step = 5;
  CHECK_EQ(dig(depth, 3), depth + 1);
  while (st_next()) {
    CHECK_FILL(growing, 2 * ST_PAGE, 1);
    for (int i = 0; i < step; i++) CHECK_FILL(growing - (i + 1) * (long)ST_PAGE, ST_PAGE, 10 + i);
    st_fill(lowest -= ST_PAGE, ST_PAGE, 10 + step++);
    depth += 100;
    CHECK_EQ(dig(depth, 4), depth + 1);
  }
}

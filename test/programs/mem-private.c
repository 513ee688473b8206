/*
 * Private anonymous memory of every sort: written, never written, punched, without access, read-only, executable;
 * and the heap, the data, the bss and the stack. Untouched pages must still read as zero and must not cost memory.
 */
#include "selftest.h"

#define PAGES 64
#define BYTES (PAGES * ST_PAGE)

static uint8_t bss[BYTES] __attribute__((aligned(4096)));
static uint8_t data[BYTES] __attribute__((aligned(4096))) = {1};

static void *map_anon(size_t bytes, int protection) {
  return MUST_MAP(mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* Which pages of a range are in memory, as counted by mincore(2). */
static int resident_pages(void *start, size_t bytes) {
  static unsigned char vector[4096]; /* not from malloc: that would move the program break */
  int count = 0;
  if (mincore(start, bytes, vector) != 0) return -1;
  for (size_t i = 0; i < bytes / ST_PAGE; i++) count += vector[i] & 1;
  return count;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *written = map_anon(BYTES, PROT_READ | PROT_WRITE);
  uint8_t *untouched = map_anon(4096 * ST_PAGE, PROT_READ | PROT_WRITE);
  uint8_t *sparse = map_anon(BYTES, PROT_READ | PROT_WRITE);
  uint8_t *read_as_zero = map_anon(BYTES, PROT_READ | PROT_WRITE);
  uint8_t *forbidden = map_anon(BYTES, PROT_READ | PROT_WRITE);
  uint8_t *read_only = map_anon(BYTES, PROT_READ | PROT_WRITE);
  uint8_t *code = map_anon(ST_PAGE, PROT_READ | PROT_WRITE);
  uint8_t on_stack[4 * ST_PAGE];
  uint8_t *heap = sbrk(BYTES + ST_PAGE);
  volatile uint8_t sum = 0;

  st_fill(written, BYTES, 1);
  for (int i = 0; i < PAGES; i += 3) st_fill(sparse + i * ST_PAGE, ST_PAGE, 100 + i);
  st_fill(sparse + 5 * ST_PAGE, ST_PAGE, 5);
  MUST(madvise(sparse + 6 * ST_PAGE, ST_PAGE, MADV_DONTNEED));
  for (int i = 0; i < PAGES; i++) sum += read_as_zero[i * ST_PAGE];
  st_fill(forbidden, BYTES, 2);
  MUST(mprotect(forbidden, BYTES, PROT_NONE));
  st_fill(read_only, BYTES, 3);
  MUST(mprotect(read_only, BYTES, PROT_READ));
  static const uint8_t return_42[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
  memcpy(code, return_42, sizeof return_42);
  MUST(mprotect(code, ST_PAGE, PROT_READ | PROT_EXEC));
  st_fill(bss, BYTES, 4);
  st_fill(data, BYTES, 6);
  st_fill(on_stack, sizeof on_stack, 7);
  if (heap == (void *)-1) st_die(__FILE__, __LINE__, "sbrk");
  heap = (uint8_t *)(((uintptr_t)heap + ST_PAGE - 1) & ~(ST_PAGE - 1));
  st_fill(heap, BYTES, 8);
  void *old_break = sbrk(0);

  for (uint64_t seed = 1; st_next(); seed++) {
    CHECK_FILL(written, BYTES, seed);
    CHECK_EQ(resident_pages(untouched, 4096 * ST_PAGE), 0);
    CHECK_EQ(untouched[1234567], 0);
    MUST(madvise(untouched, 4096 * ST_PAGE, MADV_DONTNEED));
    for (int i = 0; i < PAGES; i++) {
      if (i == 5) CHECK_FILL(sparse + i * ST_PAGE, ST_PAGE, 5);
      else if (i % 3 == 0 && i != 6) CHECK_FILL(sparse + i * ST_PAGE, ST_PAGE, 100 + i);
      else CHECK_ZERO(sparse + i * ST_PAGE, ST_PAGE);
    }
    CHECK_ZERO(read_as_zero, BYTES);
    MUST(mprotect(forbidden, BYTES, PROT_READ));
    CHECK_FILL(forbidden, BYTES, 2);
    MUST(mprotect(forbidden, BYTES, PROT_NONE));
    CHECK_FILL(read_only, BYTES, 3);
    CHECK_EQ(((int (*)(void))code)(), 42);
    CHECK_FILL(bss, BYTES, 4);
    CHECK_FILL(data, BYTES, 6);
    CHECK_FILL(on_stack, sizeof on_stack, 7);
    CHECK_FILL(heap, BYTES, 8);
    CHECK(sbrk(0) == old_break, "the program break moved from %p to %p", old_break, sbrk(0));
    old_break = (uint8_t *)sbrk((intptr_t)ST_PAGE) + ST_PAGE;
    CHECK(sbrk(0) == old_break, "the program break can't grow: %p, wanted %p", sbrk(0), old_break);
    st_fill(written, BYTES, seed + 1);
  }
}

/* 64 MiB with content, and 1 GiB of address space of which every hundredth page is written. */
#include "selftest.h"

#define BYTES (64UL << 20)
#define SPARSE_BYTES (1UL << 30)

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *memory = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  uint8_t *sparse = MUST_MAP(mmap(NULL, SPARSE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  MUST(madvise(sparse, SPARSE_BYTES, MADV_NOHUGEPAGE));
  st_fill(memory, BYTES, 1);
  for (size_t page = 0; page < SPARSE_BYTES / ST_PAGE; page += 100) *(uint64_t *)(sparse + page * ST_PAGE) = page + 1;
  while (st_next()) {
    CHECK_FILL(memory, BYTES, 1);
    for (size_t page = 0; page < SPARSE_BYTES / ST_PAGE; page += 100) {
      uint64_t got = *(uint64_t *)(sparse + page * ST_PAGE);
      CHECK(got == page + 1, "page %zu has %lu", page, got);
    }
  }
}

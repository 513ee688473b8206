/*
 * A 32-bit program with an address space of 3 GiB: it gets mappings from the kernel below that, and none above. To be built
 * with -m32.
 */
#include "selftest.h"
#include <sys/personality.h>

#define LIMIT 0xc0000000U

int main(int argc, char **argv) {
  int now = personality(0xffffffff);
  if (!(now & ADDR_LIMIT_3GB)) {
    personality((unsigned)now | ADDR_LIMIT_3GB);
    execv(argv[0], argv);
    return 3;
  }
  st_init(argc, argv);
  while (st_next()) {
    void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    CHECK((uintptr_t)memory < LIMIT, "mmap: %p", memory);
    munmap(memory, 1 << 20);
    void *above = mmap((void *)(uintptr_t)0xd0000000U, ST_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(above == MAP_FAILED && errno == ENOMEM, "mmap above the limit: %p", above);
  }
}

/* Two thousand mappings with different protections and holes between them. */
#include "selftest.h"

#define COUNT 2000

int main(int argc, char **argv) {
  st_init(argc, argv);
  static const int protections[] = {PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ | PROT_EXEC};
  uint8_t *area = MUST_MAP(mmap(NULL, COUNT * 3 * ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < COUNT; i++) {
    uint8_t *piece = area + i * 3 * ST_PAGE;
    st_fill(piece, 2 * ST_PAGE, i);
    MUST(mprotect(piece, 2 * ST_PAGE, protections[i % 4]));
    MUST(munmap(piece + 2 * ST_PAGE, ST_PAGE));
  }
  while (st_next())
    for (int i = 0; i < COUNT; i++) {
      uint8_t *piece = area + i * 3 * ST_PAGE;
      if (i % 4 == 2) MUST(mprotect(piece, 2 * ST_PAGE, PROT_READ));
      CHECK_FILL(piece, 2 * ST_PAGE, i);
      if (i % 4 == 2) MUST(mprotect(piece, 2 * ST_PAGE, PROT_NONE));
    }
}

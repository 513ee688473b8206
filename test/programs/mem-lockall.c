/* mlockall(MCL_CURRENT | MCL_FUTURE): what is mapped later must be locked too. */
#include "selftest.h"

static int is_locked(void *start) {
  char line[512], wanted[64];
  int inside = 0, locked = 0;
  snprintf(wanted, sizeof wanted, "%lx-", (unsigned long)start);
  FILE *file = fopen("/proc/self/smaps", "r");
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, wanted, strlen(wanted)) == 0) inside = 1;
    if (inside && strncmp(line, "VmFlags:", 8) == 0) {
      locked = strstr(line, " lo") != NULL;
      break;
    }
  }
  if (file) fclose(file);
  return locked;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) st_skip("mlockall: %s", strerror(errno));
  uint8_t *memory = MUST_MAP(mmap(NULL, 8 * ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  st_fill(memory, 8 * ST_PAGE, 1);
  while (st_next()) {
    CHECK_FILL(memory, 8 * ST_PAGE, 1);
    CHECK(is_locked(memory), "locked memory is no longer locked");
    uint8_t *later = MUST_MAP(mmap(NULL, ST_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(is_locked(later), "MCL_FUTURE was lost: a new mapping is not locked");
    munmap(later, ST_PAGE);
  }
}
